#!/bin/bash
# Starts one real vLLM engine on CPU, loopback only. Environment:
#   VENV        virtual environment with vllm (default ./venv)
#   MODEL       model folder made by make_model.py
#   HOST, PORT  HTTP address (127.0.0.1, 8001)          NAME   served model name (Qwen3-32B)
#   EVENTS      event endpoint (tcp://*:5557 = engine binds; tcp://127.0.0.1:5557 = engine dials the router)
#   REPLAY      replay endpoint (tcp://*:5558, empty = none)   TOPIC  (kv@127.0.0.1@$NAME)
#   BLOCK       block size (64)    BLOCKS  number of KV blocks (120)    MAXLEN  max model length (4096)
#   ALGO        --prefix-caching-hash-algo (empty = the version's default)   SEED  PYTHONHASHSEED (empty = unset)
#   BIND        VLLM_CPU_OMP_THREADS_BIND (nobind; v0.10 needs "all")
#   EXTRA       further vllm serve arguments
# Runs in the foreground; stop it with SIGINT/SIGTERM.
set -u
VENV=${VENV:-./venv}; MODEL=${MODEL:-./tiny-qwen3}; PORT=${PORT:-8001}; NAME=${NAME:-Qwen3-32B}
EVENTS=${EVENTS:-tcp://*:5557}; REPLAY=${REPLAY-tcp://*:5558}; TOPIC=${TOPIC-kv@127.0.0.1@$NAME}
BLOCK=${BLOCK:-64}; BLOCKS=${BLOCKS:-120}; MAXLEN=${MAXLEN:-4096}; ALGO=${ALGO-sha256_cbor}; SEED=${SEED-42}; EXTRA=${EXTRA:-}
# torch's CPU kernels need the CUDA-built torch only to import; everything runs on the CPU.
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_DO_NOT_TRACK=1
export VLLM_SERVER_DEV_MODE=1            # gives /reset_prefix_cache
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=${BIND:-nobind} OMP_NUM_THREADS=${OMP:-1}
export VLLM_HOST_IP=127.0.0.1 VLLM_LOGGING_LEVEL=${VLLM_LOGGING_LEVEL:-INFO} TORCHDYNAMO_DISABLE=1
case "$EXTRA" in *--enable-lora*) export VLLM_ALLOW_RUNTIME_LORA_UPDATING=1;; esac   # refused with several API servers (DP)
[ -f "$VENV/ios_init_shim.so" ] && export LD_PRELOAD=$VENV/ios_init_shim.so    # see old-libstdcxx.py
unset PYTHONHASHSEED; [ -n "$SEED" ] && export PYTHONHASHSEED=$SEED
R=null; [ -n "$REPLAY" ] && R="\"$REPLAY\""
KV="{\"enable_kv_cache_events\":true,\"publisher\":\"zmq\",\"topic\":\"$TOPIC\",\"endpoint\":\"$EVENTS\",\"replay_endpoint\":$R}"
ARGS=(serve "$MODEL" --served-model-name "$NAME" --host "${HOST:-127.0.0.1}" --port "$PORT" --dtype bfloat16 --enforce-eager
  --max-model-len "$MAXLEN" --max-num-seqs 8 --block-size "$BLOCK" --num-gpu-blocks-override "$BLOCKS" --enable-prefix-caching
  --kv-events-config "$KV" --enable-prompt-tokens-details)
[ -n "$ALGO" ] && ARGS+=(--prefix-caching-hash-algo "$ALGO")
echo "+ PYTHONHASHSEED=${SEED:-<unset>} vllm ${ARGS[*]} $EXTRA"
exec nice -n "${NICE:-0}" "$VENV/bin/vllm" "${ARGS[@]}" $EXTRA
