import assert from 'node:assert/strict'
import { Attributes, type PromptTokens } from '../../src/framework/attributes.ts'
import { Cancellation } from '../../src/framework/cancellation.ts'
import type { InferenceRequest } from '../../src/framework/request.ts'
import { parseTopic } from '../../src/kvcache/events/topic.ts'
import { openAiApi } from '../../src/openai/openai-api.ts'
import { PromptTokenizer } from '../../src/tokenize/prompt-tokenizer.ts'
import { tokenizersDir } from '../fixtures.ts'
import { createKvCache, MemoryMetrics, MemoryNotices, models } from '../kvcache/fakes.ts'
import {
  isAlone,
  loadRecording,
  type RecordedRequest,
  type Recording,
  recordingNames,
  reportedTokens,
} from '../kvcache/recordings.ts'

const BASE = 'Qwen3-32B'
const ADAPTERS = { 'sql-lora': BASE, 'chat-lora': BASE }

const isLora = ({ request }: RecordedRequest) => (request.model ?? '') in ADAPTERS

/** The picker's own parser and tokenizer for engines of one release. */
function createTokenizer(version: string, logger: ReturnType<typeof createKvCache>['logger']) {
  const tokenizer = new PromptTokenizer({
    tokenizersDir: tokenizersDir(),
    models: { baseOf: (model) => (ADAPTERS as Record<string, string>)[model] },
    engines: { versions: () => [version], contextTokens: () => undefined },
    clock: { nowMs: () => performance.now(), epochMs: Date.now },
    logger,
    metrics: new MemoryMetrics(),
    notices: new MemoryNotices(),
    budgetMs: 60_000,
  })
  tokenizer.configure({
    folders: { [BASE]: 'qwen3' },
    fallbackModel: undefined,
    engineUrl: undefined,
    source: 'local',
    trustRequestChatTemplate: false,
  })
  return {
    close: () => tokenizer.close(),
    async read({ path, request: sent, request_headers = {} }: RecordedRequest) {
      const body = Buffer.from(JSON.stringify(sent))
      const headers = new Map(
        Object.entries(request_headers).map(([name, value]) => [name.toLowerCase(), value]),
      )
      const parsed = openAiApi.parse(path, headers, [body])
      const request: InferenceRequest = {
        ...parsed,
        ...{ id: '', path, headers, targetModel: parsed.model, bodyBytes: body.length },
        ...{ criticality: 'Standard', priority: 0, attributes: new Attributes() },
      }
      const cancellation = new Cancellation()
      return { request, tokens: await tokenizer.tokenize(request, cancellation) }
    },
  }
}

/** Ranks whose events came of a request; all of them where none came. */
function ranksOf({ messages, requests }: Recording, recorded: RecordedRequest): number[] {
  const next = requests.find(({ t_send }) => t_send >= recorded.t_end)
  const end = next?.event_count_before ?? messages.length
  const came = messages.slice(recorded.event_count_before, end).map(({ src }) => src ?? 0)
  const ranks = new Set(came.length > 0 ? came : messages.map(({ src }) => src ?? 0))
  return [...ranks]
}

describe('requests that real engines served, as they were sent', function () {
  this.timeout(600_000)
  let judged = 0
  let exactRequests = 0

  for (const name of recordingNames()) {
    it(`give ${name}'s own tokens and as many cached ones as it reported`, async () => {
      const recording = loadRecording(name)
      const version = /^v([\d.]+)-/.exec(name)![1]!
      const kv = createKvCache(models([BASE], ADAPTERS))
      const tokenizer = createTokenizer(version, kv.logger)
      const topic = parseTopic(recording.messages[0]!.topic)!
      const endpoint = kv.endpoints.add({ address: topic.address, port: topic.port ?? 8000 })
      let fed = 0
      const feed = (count: number) => {
        for (; fed < count; fed++) {
          kv.cache.intake.receive({ kind: 'bound' }, recording.messages[fed]!.frames)
        }
      }
      const predict = (request: InferenceRequest, tokens: PromptTokens, rank?: number) => {
        const headers = new Map(request.headers)
        if (rank !== undefined) headers.set('x-data-parallel-rank', String(rank))
        const match = kv.cache.index.match({ ...request, headers }, tokens, [endpoint])
        return match.blocks[0]! * match.blockTokens[0]!
      }
      const wrong: string[] = []
      try {
        for (const recorded of recording.requests) {
          if (recorded.status !== 200 || !recorded.prompt_token_ids?.length) continue
          feed(recorded.event_count_before)
          const { request, tokens } = await tokenizer.read(recorded)
          assert.equal(tokens.exact, true, `${recorded.name}: ${tokens.reason}`)
          assert.deepEqual([...tokens.prompts[0]!], recorded.prompt_token_ids, recorded.name)
          exactRequests++
          const cached = reportedTokens(recorded)
          // Also of one that cannot be judged: its salt tells what its events are.
          predict(request, tokens)
          if (cached === undefined || !isAlone(recording, recorded)) continue
          // AllBlocksCleared comes with the step after the reset, so what it cleared is still counted.
          if (recorded.group === 'after-reset') continue
          judged++
          const ranks = request.headers.has('x-data-parallel-rank')
            ? [undefined]
            : ranksOf(recording, recorded)
          const answers = ranks.map((rank) => predict(request, tokens, rank))
          if (!answers.includes(cached)) {
            wrong.push(`${recorded.name}: predicted ${answers}, engine ${cached}`)
          }
        }
        assert.deepEqual(wrong, [])
        feed(recording.messages.length)
        const blocks = { recognized: 0, unrecognized: 0, unjudged: 0 }
        for (const { publishers } of kv.cache.status()) {
          for (const { hashes, hashing } of publishers) {
            assert.match(hashing, /^aligned: /)
            blocks.recognized += hashes.recognized
            blocks.unrecognized += hashes.unrecognized
            blocks.unjudged += hashes.unjudged
          }
        }
        assert.equal(blocks.unrecognized, 0)
        // From 0.31 on the path of an adapter is hashed, which no event tells.
        const hidesPaths = version === '0.32.0' && recording.requests.some(isLora)
        assert.equal(blocks.unjudged > 0, hidesPaths, `${blocks.unjudged} blocks not judged`)
        assert.ok(blocks.recognized > 200, `${blocks.recognized} blocks recognized`)
      } finally {
        kv.cache.close()
        await tokenizer.close()
      }
    })
  }

  after(() => console.log(`      ${exactRequests} requests exact, ${judged} judged`))
})
