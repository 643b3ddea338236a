import type { EngineMetricSpecs } from '../framework/metrics-scraping.ts'

/** The engine of endpoints that do not say which they are. */
export const DEFAULT_ENGINE = 'vllm'

/** Labels that name an endpoint's engine; the first that is there counts. */
export const ENGINE_LABEL = 'llm-d.ai/engine-type'
export const LEGACY_ENGINE_LABEL = 'inference.networking.k8s.io/engine-type'

/**
 * The metrics of the engines that are known, by the names that llm-d gives them.
 *
 * Triton without TensorRT-LLM tells neither running requests nor KV cache: `nv_inference_exec_count`, which llm-d takes
 * for the former, counts all executions since the start.
 */
export const ENGINES: readonly EngineMetricSpecs[] = [
  {
    name: 'vllm',
    queuedRequestsSpec: 'vllm:num_requests_waiting',
    runningRequestsSpec: 'vllm:num_requests_running',
    kvUsageSpec: 'vllm:kv_cache_usage_perc',
    loraSpec: 'vllm:lora_requests_info',
    cacheInfoSpec: 'vllm:cache_config_info',
    cacheBlockSizeLabelName: 'block_size',
    cacheNumBlocksLabelName: 'num_gpu_blocks',
  },
  {
    name: 'sglang',
    queuedRequestsSpec: 'sglang:num_queue_reqs',
    runningRequestsSpec: 'sglang:num_running_reqs',
    kvUsageSpec: 'sglang:token_usage',
    cacheInfoSpec: 'sglang:cache_config_info',
    cacheBlockSizeLabelName: 'page_size',
    cacheNumBlocksLabelName: 'num_pages',
  },
  {
    name: 'trtllm-serve',
    queuedRequestsSpec: 'trtllm_num_requests_waiting',
    runningRequestsSpec: 'trtllm_num_requests_running',
    kvUsageSpec: 'trtllm_kv_cache_utilization',
    cacheBlockSizeSpec: 'trtllm_kv_cache_tokens_per_block',
    cacheNumBlocksSpec: 'trtllm_kv_cache_max_blocks',
  },
  {
    name: 'triton-tensorrt-llm',
    queuedRequestsSpec: 'nv_trt_llm_request_metrics{request_type=waiting}',
    runningRequestsSpec: 'nv_trt_llm_request_metrics{request_type=scheduled}',
    kvUsageSpec: 'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}',
    cacheBlockSizeSpec: 'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}',
    cacheNumBlocksSpec: 'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}',
  },
  { name: 'triton', queuedRequestsSpec: 'nv_inference_pending_request_count' },
]
