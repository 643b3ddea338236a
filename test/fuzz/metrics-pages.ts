import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import type { RankLoad } from '../../src/datalayer/engine-page.ts'
import { EngineTables } from '../../src/datalayer/engine-tables.ts'
import { type FuzzTarget, nearly } from './target.ts'

const page = (name: string) => gunzipSync(readFileSync(`test/fixtures/metrics/${name}.txt.gz`))
const VLLM = page('v0.32.0-dp2')
const SHORT = Buffer.from(
  [
    'vllm:num_requests_waiting{engine="0",model_name="m"} 3.0',
    'vllm:num_requests_running{engine="0",model_name="m"} 1e2',
    'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25',
    'vllm:cache_config_info{block_size="16",num_gpu_blocks="100",engine="0"} 1.0',
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b",waiting_lora_adapters=""} 1.7e9',
    'sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\nsglang:token_usage 0.5\n',
  ].join('\n'),
)

/** A page tells a load of finite numbers or a fault, whatever is in it. */
export const metricsPages: FuzzTarget = {
  name: 'metrics-pages',
  inputs: fc.record({
    page: fc.oneof(
      { weight: 8, arbitrary: nearly([SHORT]) },
      { weight: 1, arbitrary: nearly([VLLM]) },
      { weight: 2, arbitrary: fc.string({ unit: 'binary' }).map((text) => Buffer.from(text)) },
    ),
    rank: fc.option(fc.nat(3), { nil: undefined }),
    engine: fc.constantFrom('vllm', 'sglang', 'trtllm-serve', 'triton', 'unknown'),
  }),
  check({ page, rank, engine }: { page: Buffer; rank: number | undefined; engine: string }) {
    const tables = new EngineTables()
    const { reader } = tables.of(new Map([['llm-d.ai/engine-type', engine]]))
    const reading = reader.read(page, rank)
    if ('load' in reading) checkLoad(reading.load)
    const ranks = reader.readRanks(page, 1 + (rank ?? 0))
    if ('fault' in ranks) return
    assert.equal(ranks.loads.length, 1 + (rank ?? 0))
    for (const load of ranks.loads) if (load !== undefined) checkLoad(load)
  },
}

function checkLoad({ waiting, running, kvCacheUsage, blockTokens, kvBlocks }: RankLoad): void {
  assert.ok(Number.isFinite(waiting) && waiting >= 0)
  assert.ok(Number.isFinite(running) && running >= 0)
  assert.ok(kvCacheUsage >= 0 && kvCacheUsage <= 1)
  for (const value of [blockTokens, kvBlocks]) {
    if (value !== undefined) assert.ok(Number.isSafeInteger(value) && value > 0, `${value}`)
  }
}
