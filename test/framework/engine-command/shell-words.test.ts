import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { parseShell } from '../../../src/framework/engine-command/shell-words.ts'
import { plainWord, type Variables } from '../../../src/framework/engine-command/word.ts'

const ENVIRONMENT: Readonly<Record<string, string>> = {
  POD_IP: '127.0.0.3',
  TWO: 'a b',
  EMPTY: '',
  JSON: '{"k": "v"}',
}
const variables: Variables = (name) => ({ value: ENVIRONMENT[name] ?? '', known: true })
const parse = (text: string) => parseShell(plainWord(text, 0), variables)
const wordsOf = (text: string) =>
  parse(text).commands.map(({ words }) => words.map(({ value }) => value))

/** The words that a real shell hands to a command. */
function realWords(words: string): readonly string[] {
  const { stdout, stderr, status } = spawnSync('sh', ['-c', `printf '%s\\0' x ${words}`], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...ENVIRONMENT },
    timeout: 10_000,
  })
  assert.equal(status, 0, stderr)
  return stdout.split('\0').slice(1, -1)
}

/** Written as templates, so that a dollar with a brace stands for itself. */
const LINES = [
  `a 'b c' "d e" f\\ g`,
  `"{\\"topic\\":\\"kv@\${POD_IP}@Qwen3\\"}" '{"topic":"kv@\${POD_IP}@Qwen3"}'`,
  `--flag="x y"'z'w --empty= '' ""`,
  `$TWO "$TWO" x$TWO"y" \${TWO}z`,
  `$EMPTY "$EMPTY" a$EMPTY \${NOT_SET} "\${NOT_SET}"`,
  `\${NOT_SET:-default} \${EMPTY:-default} \${POD_IP:-default} \${POD_IP:+other} \${NOT_SET:+other} \${NOT_SET-d}`,
  `a\\\nb \\\n  c`,
  `"a\\\nb" 'a\\\nb' "\\a \\$ \\\\ \\" \\\`"`,
  `$ "$" $/x a$ "%$%" 5$`,
  `a#b '#c' "#d"`,
  `\${JSON} "$JSON"`,
  `"a'b" 'c"d' \\'e\\"`,
  `{a} [b]x a=b c==d ~x`,
  `2x 2>/dev/null y 3>&1 z </dev/null`,
]

describe('parseShell', () => {
  for (const line of LINES) {
    it(`splits as sh does: ${JSON.stringify(line)}`, () => {
      const [words] = wordsOf(`printf '%s\\0' x ${line}`)
      assert.deepEqual(words!.slice(3), realWords(line))
    })
  }

  it('splits commands at operators and line ends, past comments and here-documents', () => {
    assert.deepEqual(
      wordsOf(
        `set -e; a && b || c | d & # e\nf <<EOF | g\nnot a command\nEOF\nif h; then (i) fi\n`,
      ),
      [
        ['set', '-e'],
        ['a'],
        ['b'],
        ['c'],
        ['d'],
        ['f'],
        ['g'],
        ['if', 'h'],
        ['then'],
        ['i'],
        ['fi'],
      ],
    )
  })

  it('takes assignments over to later commands, not to their own', () => {
    const { commands } = parse('A=1 B="$POD_IP x" c $A; D=2; export E="$D"3; f $D $E "$B"')
    const [first, , , last] = commands
    assert.deepEqual(
      [...first!.assignments].map(([name, { value }]) => [name, value]),
      [
        ['A', '1'],
        ['B', '127.0.0.3 x'],
      ],
    )
    assert.deepEqual(
      first!.words.map(({ value }) => value),
      ['c'],
    )
    assert.deepEqual(
      last!.words.map(({ value }) => value),
      ['f', '2', '23', ''],
    )
  })

  it('says what it cannot know without running something', () => {
    const { commands } = parse(`a $(hostname -i) \`id\` x"$((1+2))" $1 \${POD_IP%.*} plain`)
    assert.deepEqual(
      commands[0]!.words.map(({ unknown }) => unknown),
      [false, true, true, true, true, true, false],
    )
    const unset = parseShell(plainWord('a $X', 0), () => ({ value: '{$X}', known: false }))
    assert.deepEqual(
      unset.commands[0]!.words.map(({ value, unknown }) => [value, unknown]),
      [
        ['a', false],
        ['{$X}', true],
      ],
    )
  })

  it('knows the place and the quotes of each character', () => {
    const text = `a\\\n "b\\"$POD_IP" 'c$d'e\\f`
    const [, double, mixed] = parse(text).commands[0]!.words
    assert.equal(text.slice(double!.start, double!.end), '"b\\"$POD_IP"')
    assert.equal(double!.at.map((at) => text[at]).join(''), `b"${'$'.repeat(9)}`)
    assert.deepEqual(double!.quoting.slice(0, 3), ['double', 'escaped', 'expanded'])
    assert.equal(text.slice(mixed!.start, mixed!.end), `'c$d'e\\f`)
    assert.equal(mixed!.at.map((at) => text[at]).join(''), mixed!.value)
    assert.deepEqual(mixed!.quoting, ['single', 'single', 'single', 'bare', 'escaped'])
  })

  for (const [text, offset, message] of [
    ["a 'b", 2, 'a single quote is not closed; add the second one'],
    ['a; b "c', 5, 'a double quote is not closed; add the second one'],
    ['a ${B', 2, 'a brace behind "$" is not closed; add "}"'],
    ['a $(b', 2, 'a parenthesis behind "$" is not closed; add ")"'],
    ['a `b', 2, 'a backtick is not closed; add the second one'],
  ] as const) {
    it(`names the place of what is not closed in ${text}`, () => {
      assert.deepEqual(parse(text).fault, { offset, message })
    })
  }

  it('does not grow without end where variables stand for each other', () => {
    const doubling = Array.from({ length: 40 }, (_, i) => `A${i + 1}=$A${i}$A${i}`)
    const last = (lines: readonly string[], command: string) =>
      parse(`A0=0123456789; ${lines.join('; ')}; ${command}`).commands.at(-1)!.words
    const [, short] = last(doubling.slice(0, 10), 'a $A10')
    assert.deepEqual([short!.value.length, short!.unknown], [10 * 2 ** 10, false])
    const words = last(doubling, `a ${'$A13 '.repeat(100)} $A40`)
    assert.equal(words.at(-1)!.unknown, true)
    const characters = words.reduce((sum, { value }) => sum + value.length, 0)
    assert.ok(characters < 2 * 1024 * 1024, `${characters} characters`)
  })
})
