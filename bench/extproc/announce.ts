// Stands in for engines that hold the beginnings which bodies of the load tool share: announces their blocks as KV events,
// one publisher for each engine, then waits to be ended. Prints a line when the last event is sent.
//
//   node announce.ts TOOL TOKENIZERS_DIR EVENTS_ADDRESS ENGINE...
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { createKvEventPublisher } from '../../src/kvcache/events/event-publisher.ts'

const [tool = '', tokenizersDir = '', events = '', ...engines] = process.argv.slice(2)
/** What the load tool is asked for, but for the number of the request. */
const BODIES = [
  ...['0.5k', '24k', '400k'].map((size) => ['-size', size]),
  ...Array.from({ length: 8 }, (_, i) => ['-size', '550k', '-conversation', String(i)]),
]
const BLOCK_TOKENS = 64
const BLOCKS_PER_EVENT = 32
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** Ids of a body of the load tool, as the product reads it. */
function idsOf(what: readonly string[], sequence: number): readonly number[] {
  const body = execFileSync(tool, ['body', ...what, '-seq', String(sequence)])
  const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
  const args = [main, 'tokenize', '-', '--json', '--tokenizers-dir', tokenizersDir]
  const said = execFileSync(process.execPath, [...args, '--engine-version', '0.32.0'], {
    input: body,
    maxBuffer: MAX_OUTPUT_BYTES,
  })
  return JSON.parse(said.toString()).prompts[0].tokenIds
}

let hash = 1n
const runs = BODIES.map((what) => {
  const [one, other] = [idsOf(what, 1), idsOf(what, 987_654_321)]
  const common = one.findIndex((id, i) => id !== other[i])
  const blocks = Math.floor(common / BLOCK_TOKENS)
  return Array.from({ length: blocks }, (_, i) => ({
    hash: hash++,
    tokenIds: one.slice(i * BLOCK_TOKENS, (i + 1) * BLOCK_TOKENS),
  }))
})

for (const engine of engines) {
  const topic = `kv@${engine}@bench-model`
  const publisher = await createKvEventPublisher({
    ...{ endpoint: events, topic, encoding: 'map', rank: 0 },
  })
  // What is sent before the socket is connected is lost.
  await new Promise((resolve) => setTimeout(resolve, 500))
  for (const blocks of runs) {
    for (let at = 0; at < blocks.length; at += BLOCKS_PER_EVENT) {
      const part = blocks.slice(at, at + BLOCKS_PER_EVENT)
      publisher.publish([
        {
          type: 'BlockStored',
          blockHashes: part.map((block) => block.hash),
          parentBlockHash: at === 0 ? null : blocks[at - 1]!.hash,
          tokenIds: part.flatMap((block) => block.tokenIds),
          blockTokens: BLOCK_TOKENS,
          loraName: null,
          extraKeys: part.map(() => null),
        },
      ])
    }
  }
}
console.log(`${runs.map((blocks) => blocks.length).join(', ')} blocks announced for each engine`)
setInterval(() => {}, 60_000)
