import assert from 'node:assert/strict'
import { endpoint, request } from '../../src/framework/testing.ts'
import { FieldMetrics } from '../../src/telemetry/field-metrics.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'

const scraped = [
  endpoint({ name: 'a', metrics: { waiting: 4, running: 1, kvCacheUsage: 0.5 } }),
  endpoint({ name: 'b', metrics: { waiting: 2, running: 3, kvCacheUsage: 0.25 } }),
  endpoint({ name: 'c' }),
]
const endpoints = { list: () => scraped, listen: () => () => {} }
const asked = request({ model: 'm', targetModel: 't', bodyBytes: 300 })

async function pageAfterOneRequest(compat: boolean): Promise<string> {
  const metrics = new PrometheusMetrics()
  const field = new FieldMetrics(metrics, endpoints, 'pool', compat)
  field.picked(asked)
  field.ended(asked, scraped[0]!, {
    reason: 'completed',
    status: 200,
    usage: { promptTokens: 7, completionTokens: 10, cachedTokens: 3 },
    responseBytes: 50,
    firstByteMs: 20,
    durationMs: 100,
  })
  field.refused('BAD_REQUEST')
  return metrics.text()
}

describe('FieldMetrics', () => {
  it("gives GIE's pool, objective and model families", async () => {
    const page = await pageAfterOneRequest(false)
    const objective = 'model_name="m",target_model_name="t",priority="0"'
    for (const line of [
      'inference_pool_average_kv_cache_utilization{name="pool"} 0.375',
      'inference_pool_average_queue_size{name="pool"} 3',
      'inference_pool_average_running_requests{name="pool"} 2',
      'inference_pool_ready_pods{name="pool"} 3',
      'inference_pool_per_pod_queue_size{name="pool",model_server_pod="a-rank-0"} 4',
      `inference_objective_request_total{${objective}} 1`,
      `inference_objective_input_tokens_sum{${objective}} 7`,
      `inference_objective_output_tokens_sum{${objective}} 10`,
      `inference_objective_prompt_cached_tokens_sum{${objective}} 3`,
      `inference_objective_request_duration_seconds_sum{${objective}} 0.1`,
      `inference_objective_request_ttft_seconds_sum{${objective}} 0.02`,
      `inference_objective_normalized_time_per_output_token_seconds_sum{${objective}} 0.01`,
      'inference_model_request_total{model_name="m",target_model_name="t"} 1',
      'inference_model_request_error_total{model_name="",target_model_name="",error_code="BAD_REQUEST"} 1',
    ]) {
      assert.ok(page.includes(`${line}\n`), `${line} is missing`)
    }
    assert.ok(!page.includes('llm_d_epp_'))
  })

  it("adds llm-d's names on demand", async () => {
    const page = await pageAfterOneRequest(true)
    const labels = 'model_name="m",target_model_name="t",fairness_id="default-flow",priority="0"'
    for (const line of [
      'llm_d_epp_ready_endpoints{name="pool"} 3',
      `llm_d_epp_request_total{${labels}} 1`,
      `llm_d_epp_request_cached_tokens_sum{${labels}} 3`,
      `llm_d_epp_request_size_bytes_sum{${labels}} 300`,
    ]) {
      assert.ok(page.includes(`${line}\n`), `${line} is missing`)
    }
  })

  it('counts requests under way by model', async () => {
    const metrics = new PrometheusMetrics()
    const field = new FieldMetrics(metrics, endpoints, 'pool', false)
    field.picked(asked)
    assert.ok(
      (await metrics.text()).includes('inference_objective_running_requests{model_name="m"} 1\n'),
    )
    field.ended(asked, scraped[0]!, {
      reason: 'aborted',
      status: undefined,
      usage: undefined,
      responseBytes: 0,
      firstByteMs: undefined,
      durationMs: 1,
    })
    assert.ok(
      !(await metrics.text()).includes('inference_objective_running_requests{model_name="m"}'),
    )
  })
})
