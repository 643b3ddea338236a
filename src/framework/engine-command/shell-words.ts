import { type Expansion, type Variables, type Word, WordBuilder, wordFrom } from './word.ts'

/** One simple command of a script: what stands between `;`, `&&`, `|`, line ends and the like. */
export interface ShellCommand {
  /** Assignments in front of the command, or on a line of their own. */
  readonly assignments: ReadonlyMap<string, Word>
  /** Redirections are left out. */
  readonly words: readonly Word[]
}

export interface ShellScript {
  readonly commands: readonly ShellCommand[]
  /** What is wrong with the text, with the offset in it; the commands before that place are there all the same. */
  readonly fault: { readonly offset: number; readonly message: string } | undefined
}

const NAME = /^[A-Za-z_]\w*/
const ASSIGNMENT = /^([A-Za-z_]\w*)=/
const BRACED = /^([A-Za-z_]\w*)(?:(:?)([-=?+])([\s\S]*))?$/
/** What all variables of a script may come to. */
const MAX_EXPANDED_CHARACTERS = 1024 * 1024
const IN_DOUBLE_QUOTES = '$`"\\\n'

/**
 * Splits a shell script into commands and words as a POSIX shell does (2.2 Quoting, 2.3 Token Recognition, 2.6 Word
 * Expansions of the standard), and expands variables. Nothing is run: what `$(...)` gives is unknown. Control flow is not
 * followed: every command is listed.
 *
 * @param script the script's text as a word of the command line that has it
 * @param variables the shell's environment; assignments in the script come first
 */
export function parseShell(script: Word, variables: Variables): ShellScript {
  return new ShellReader(script, variables).read()
}

class ShellReader {
  readonly #script: Word
  readonly #text: string
  readonly #variables: Variables
  readonly #local = new Map<string, Expansion>()
  readonly #commands: ShellCommand[] = []
  #position = 0
  #word: WordBuilder | undefined
  #assignments = new Map<string, Word>()
  #words: Word[] = []
  /** The next word is the target of a redirection; `here` when it ends a here-document. */
  #redirect: 'file' | 'here' | undefined
  #hereEnds: string[] = []
  #fault: ShellScript['fault']
  #expanded = 0

  constructor(script: Word, variables: Variables) {
    this.#script = script
    this.#text = script.value
    this.#variables = variables
  }

  read(): ShellScript {
    while (this.#position < this.#text.length && this.#fault === undefined) this.#step()
    if (this.#fault === undefined) this.#endCommand()
    return { commands: this.#commands, fault: this.#fault }
  }

  #step(): void {
    const character = this.#text[this.#position]!
    const next = this.#text[this.#position + 1]
    if (character === '\\' && next === '\n') {
      this.#position += 2
    } else if (character === ' ' || character === '\t' || character === '\r') {
      this.#endWord()
      this.#position++
    } else if (character === '\n') {
      this.#endCommand()
      this.#position++
      this.#skipHereDocuments()
    } else if (character === '#' && this.#word === undefined) {
      while (this.#position < this.#text.length && this.#text[this.#position] !== '\n') {
        this.#position++
      }
    } else if (character === '<' || character === '>' || (character === '&' && next === '>')) {
      this.#beginRedirect()
    } else if (';&|()'.includes(character)) {
      this.#endCommand()
      this.#position++
    } else {
      this.#readPart(character, next)
    }
  }

  #readPart(character: string, next: string | undefined): void {
    const at = this.#position
    if (character === "'") this.#readSingle()
    else if (character === '"') this.#readDouble()
    else if (character === '$') this.#readDollar(false)
    else if (character === '`') this.#skipBackticks()
    else if (character === '\\' && next !== undefined) {
      this.#open().add(next, at + 1, 'escaped')
      this.#position += 2
    } else {
      this.#open().add(character, at, 'bare')
      this.#position++
    }
  }

  #open(): WordBuilder {
    return (this.#word ??= new WordBuilder(this.#script, this.#position))
  }

  #readSingle(): void {
    const word = this.#open()
    const end = this.#text.indexOf("'", this.#position + 1)
    if (end < 0) {
      this.#fail('a single quote is not closed; add the second one')
      return
    }
    for (let i = this.#position + 1; i < end; i++) word.add(this.#text[i]!, i, 'single')
    this.#position = end + 1
  }

  #readDouble(): void {
    const word = this.#open()
    const start = this.#position++
    for (;;) {
      const character = this.#text[this.#position]
      const next = this.#text[this.#position + 1]
      if (character === undefined) {
        this.#position = start
        this.#fail('a double quote is not closed; add the second one')
        return
      }
      if (character === '"') break
      if (character === '$') this.#readDollar(true)
      else if (character === '`') this.#skipBackticks()
      else if (character === '\\' && next !== undefined && IN_DOUBLE_QUOTES.includes(next)) {
        if (next !== '\n') word.add(next, this.#position + 1, 'escaped')
        this.#position += 2
      } else {
        word.add(character, this.#position, 'double')
        this.#position++
      }
      if (this.#fault !== undefined) return
    }
    this.#position++
  }

  #readDollar(quoted: boolean): void {
    const at = this.#position
    const rest = this.#text.slice(at + 1)
    const [name] = NAME.exec(rest) ?? []
    if (name !== undefined) {
      this.#position += 1 + name.length
      this.#expand(this.#value(name), at, quoted)
    } else if (rest.startsWith('{')) {
      const end = this.#closing('{', '}', at + 1)
      if (end === undefined) {
        this.#fail('a brace behind "$" is not closed; add "}"')
        return
      }
      this.#position = end + 1
      this.#expand(this.#braced(this.#text.slice(at + 2, end)), at, quoted)
    } else if (rest.startsWith('(')) {
      const end = this.#closing('(', ')', at + 1)
      if (end === undefined) {
        this.#fail('a parenthesis behind "$" is not closed; add ")"')
        return
      }
      this.#position = end + 1
      this.#expand({ value: `{${this.#text.slice(at, end + 1)}}`, known: false }, at, true)
    } else if (/^[\d@*#?!$-]/.test(rest)) {
      this.#position += 2
      this.#expand({ value: `{$${rest[0]}}`, known: false }, at, true)
    } else {
      this.#open().add('$', at, quoted ? 'double' : 'bare')
      this.#position++
    }
  }

  #value(name: string): Expansion {
    return this.#local.get(name) ?? this.#variables(name)
  }

  /** What `${...}` stands for (2.6.2 Parameter Expansion). */
  #braced(content: string): Expansion {
    const [, name, colon, operator, word = ''] = BRACED.exec(content) ?? []
    const unknown = { value: `{$${content}}`, known: false }
    if (name === undefined) return unknown
    const given = this.#value(name)
    if (operator === undefined || !given.known) return given
    // A name that is not set stands for no text, so that the forms with and without a colon are not told apart.
    const present = given.value !== '' || (colon === '' && this.#local.has(name))
    const alternative = /[$`'"\\]/.test(word) ? unknown : { value: word, known: true }
    if (operator === '+') return present ? alternative : { value: '', known: true }
    return present ? given : alternative
  }

  /** Without quotes an expansion is split into words at its blanks (2.6.5 Field Splitting). */
  #expand(given: Expansion, at: number, whole: boolean): void {
    this.#expanded += given.value.length
    const tooMuch = this.#expanded > MAX_EXPANDED_CHARACTERS
    const expansion = tooMuch ? { value: '{...}', known: false } : given
    const assigning = this.#words.length === 0 && ASSIGNMENT.test(this.#word?.value ?? '')
    if (whole || assigning || !/\s/.test(expansion.value)) {
      if (whole || expansion.value !== '') this.#openAt(at).expand(expansion, at)
      return
    }
    for (const part of expansion.value.split(/(\s+)/)) {
      if (/^\s+$/.test(part)) this.#endWord()
      else if (part !== '') this.#openAt(at).expand({ ...expansion, value: part }, at)
    }
  }

  #openAt(at: number): WordBuilder {
    return (this.#word ??= new WordBuilder(this.#script, at))
  }

  #skipBackticks(): void {
    const at = this.#position
    let end = at + 1
    while (end < this.#text.length && this.#text[end] !== '`')
      end += this.#text[end] === '\\' ? 2 : 1
    if (end >= this.#text.length) {
      this.#fail('a backtick is not closed; add the second one')
      return
    }
    this.#position = end + 1
    this.#expand({ value: `{${this.#text.slice(at, end + 1)}}`, known: false }, at, true)
  }

  #closing(open: string, close: string, from: number): number | undefined {
    let depth = 0
    for (let i = from; i < this.#text.length; i++) {
      if (this.#text[i] === '\\') i++
      else if (this.#text[i] === open) depth++
      else if (this.#text[i] === close && --depth === 0) return i
    }
    return undefined
  }

  #beginRedirect(): void {
    // The number of a file descriptor belongs to the redirection.
    if (this.#word?.bare && /^\d+$/.test(this.#word.value)) this.#word = undefined
    this.#endWord()
    const [operator] = /^(?:&>>?|<<-|<<<|<<|>>|>\||<>|[<>]&|[<>])/.exec(
      this.#text.slice(this.#position),
    )!
    this.#position += operator.length
    this.#redirect = operator === '<<' || operator === '<<-' ? 'here' : 'file'
  }

  #skipHereDocuments(): void {
    for (const end of this.#hereEnds) {
      while (this.#position < this.#text.length) {
        const lineEnd = this.#text.indexOf('\n', this.#position)
        const stop = lineEnd < 0 ? this.#text.length : lineEnd
        const line = this.#text.slice(this.#position, stop)
        this.#position = stop + 1
        if (line.trim() === end) break
      }
    }
    this.#hereEnds = []
  }

  #endWord(): void {
    const word = this.#word?.build(this.#position)
    const bare = this.#word !== undefined && this.#bareAssignment(this.#word)
    this.#word = undefined
    if (word === undefined) return
    if (this.#redirect !== undefined) {
      if (this.#redirect === 'here') this.#hereEnds.push(word.value)
      this.#redirect = undefined
      return
    }
    const [prefix, name] = ASSIGNMENT.exec(word.value) ?? []
    const exporting = this.#words[0]?.value === 'export'
    if (name !== undefined && bare && (this.#words.length === 0 || exporting)) {
      this.#assignments.set(name, wordFrom(word, prefix!.length))
    } else this.#words.push(word)
  }

  /** True when what stands before the value's first `=` was written without quotes. */
  #bareAssignment(word: WordBuilder): boolean {
    const built = word.build(this.#position)
    const equals = built.value.indexOf('=')
    return equals > 0 && built.quoting.slice(0, equals + 1).every((each) => each === 'bare')
  }

  #endCommand(): void {
    this.#endWord()
    this.#redirect = undefined
    if (this.#words.length > 0 || this.#assignments.size > 0) {
      this.#commands.push({ assignments: this.#assignments, words: this.#words })
    }
    // In front of a command an assignment holds for that command alone.
    if (this.#words.length === 0 || this.#words[0]!.value === 'export') {
      for (const [name, { value, unknown }] of this.#assignments) {
        this.#local.set(name, { value, known: !unknown })
      }
    }
    this.#assignments = new Map()
    this.#words = []
  }

  #fail(message: string): void {
    this.#fault = { offset: this.#script.at[this.#position] ?? 0, message }
  }
}
