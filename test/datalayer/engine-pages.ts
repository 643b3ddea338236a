/** Pages of one engine each, as far as they are read, with what stands around it on real ones. */
export const PAGES = {
  vllm: `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="573",prefix_caching_hash_algo="sha256"} 1.0
`,
  sglang: `# HELP sglang:num_running_reqs The number of running requests.
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{engine_type="unified",model_name="m",tp_rank="0"} 5.0
sglang:num_running_reqs_offline_batch{engine_type="unified",model_name="m"} 70.0
sglang:num_queue_reqs{engine_type="unified",model_name="m",tp_rank="0"} 2.0
sglang:token_usage{engine_type="unified",model_name="m",tp_rank="0"} 0.75
sglang:cache_config_info{page_size="64",num_pages="120"} 1.0
`,
  'trtllm-serve': `# TYPE trtllm_num_requests_running gauge
trtllm_num_requests_running{engine_type="trtllm",model_name="m"} 7.0
trtllm_num_requests_waiting{engine_type="trtllm",model_name="m"} 3.0
trtllm_kv_cache_utilization{engine_type="trtllm",model_name="m"} 0.5
trtllm_kv_cache_tokens_per_block{engine_type="trtllm",model_name="m"} 32.0
trtllm_kv_cache_max_blocks{engine_type="trtllm",model_name="m"} 900.0
`,
  'triton-tensorrt-llm': `# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="m",request_type="scheduled",version="1"} 9
nv_trt_llm_request_metrics{model="m",request_type="max",version="1"} 64
nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 4
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="m",version="1"} 0.125
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="m",version="1"} 128
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="m",version="1"} 100
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="free",model="m",version="1"} 700
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="m",version="1"} 800
`,
  triton: `# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="a",version="1"} 123456
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="a",version="1"} 8
nv_inference_pending_request_count{model="b",version="1"} 3
`,
} as const
