// Texts of the kind that coding agents send: lines of this project's documents and sources in random order, with a name in
// every tenth line that no other text has.
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '../../src/framework/random.ts'

const CHARACTERS_PER_TOKEN = 4

/** Chats of texts that differ from seed to seed. */
export class Texts {
  readonly #lines = corpus()
  readonly #random: ReturnType<typeof seededRandom>

  constructor(seed: number) {
    this.#random = seededRandom(seed)
  }

  /** New text of so many characters. */
  text(characters: number): string {
    let text = ''
    for (let line = 0; text.length < characters; line++) {
      text += `${this.#lines[this.#below(this.#lines.length)]}\n`
      if (line % 10 === 0) text += `id ${this.#below(36 ** 6).toString(36)}\n`
    }
    return text.slice(0, characters)
  }

  /** A conversation of that many tokens or a few more, in turns of about 500 tokens. */
  conversation(tokens: number): Message[] {
    const system = this.text(Math.min(tokens / 4, 5000) * CHARACTERS_PER_TOKEN)
    const messages: Message[] = [{ role: 'system', content: system }]
    for (let characters = system.length; characters < tokens * CHARACTERS_PER_TOKEN; ) {
      if (messages.length > 1) this.answer(messages)
      messages.push({ role: 'user', content: this.text(200 * CHARACTERS_PER_TOKEN) })
      characters += 500 * CHARACTERS_PER_TOKEN
    }
    return messages
  }

  /** Adds an answer of 300 tokens. */
  answer(messages: Message[]): void {
    messages.push({ role: 'assistant', content: this.text(300 * CHARACTERS_PER_TOKEN) })
  }

  /** Adds a turn of 500 tokens: an answer and what is said to it. */
  turn(messages: Message[]): void {
    this.answer(messages)
    messages.push({ role: 'user', content: this.text(200 * CHARACTERS_PER_TOKEN) })
  }

  #below(count: number): number {
    return Math.floor(this.#random.next() * count)
  }
}

export interface Message {
  readonly role: string
  readonly content: string
}

export function bodyOf(messages: readonly Message[]): Buffer {
  const rest = { stream: true, max_tokens: 64 }
  return Buffer.from(JSON.stringify({ model: 'bench-model', messages, ...rest }))
}

function corpus(): readonly string[] {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  return ['docs', 'src']
    .flatMap((folder) =>
      readdirSync(`${root}${folder}`, { recursive: true }).map(
        (name) => `${root}${folder}/${name}`,
      ),
    )
    .filter((path) => /\.(md|ts)$/.test(path) && !path.endsWith('-wasm.ts'))
    .sort()
    .flatMap((path) => readFileSync(path, 'utf8').split('\n'))
    .filter((line) => line.length > 20)
}
