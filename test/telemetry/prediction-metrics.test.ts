import assert from 'node:assert/strict'
import { PROMPT_TOKENS } from '../../src/framework/attributes.ts'
import { PREFIX_FINDING } from '../../src/framework/services.ts'
import { endpoint, request } from '../../src/framework/testing.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { PredictionMetrics } from '../../src/telemetry/prediction-metrics.ts'

describe('PredictionMetrics', () => {
  const one = endpoint()
  const asked = (prompts: number, isTold = true) =>
    request({
      attributes: [
        [
          PROMPT_TOKENS,
          { prompts: Array.from({ length: prompts }, () => new Int32Array(200)), exact: true },
        ],
        [
          PREFIX_FINDING,
          {
            endpoints: [one],
            match: {
              blocks: Int32Array.of(2),
              weighted: Float64Array.of(2),
              blockTokens: Int32Array.of(64),
              usableBlocks: Int32Array.of(3),
            },
            source: 'tracked',
            tracked: 1,
            told: [isTold],
          },
        ],
      ],
    })
  const outcome = (cachedTokens: number | undefined) => ({
    reason: 'completed' as const,
    status: 200,
    usage: { promptTokens: 200, completionTokens: 1, cachedTokens },
    responseBytes: 1,
    firstByteMs: 1,
    durationMs: 1,
  })

  it('compares by endpoint and mode, and leaves out what an engine does not say or says of the last prompt only', async () => {
    const metrics = new PrometheusMetrics()
    const predictions = new PredictionMetrics(metrics)
    predictions.ended(asked(1), one, outcome(128))
    predictions.ended(asked(1), one, outcome(64))
    predictions.ended(asked(1), one, outcome(undefined))
    predictions.ended(asked(2), one, outcome(64))
    predictions.ended(asked(1, false), one, outcome(192))
    const lines = (await metrics.text())
      .split('\n')
      .filter((line) => line.startsWith('epp_prefix_'))
    const at = (mode: string) => `endpoint="${one.hostPort}",mode="${mode}"`
    assert.deepEqual(lines, [
      `epp_prefix_predicted_tokens_total{${at('tracked')}} 256`,
      `epp_prefix_predicted_tokens_total{${at('routed')}} 128`,
      `epp_prefix_cached_tokens_total{${at('tracked')}} 192`,
      `epp_prefix_cached_tokens_total{${at('routed')}} 192`,
      `epp_prefix_predictions_total{${at('tracked')},result="exact"} 1`,
      `epp_prefix_predictions_total{${at('tracked')},result="over"} 1`,
      `epp_prefix_predictions_total{${at('tracked')},result="under"} 0`,
      `epp_prefix_predictions_total{${at('routed')},result="exact"} 0`,
      `epp_prefix_predictions_total{${at('routed')},result="over"} 0`,
      `epp_prefix_predictions_total{${at('routed')},result="under"} 1`,
    ])
  })
})
