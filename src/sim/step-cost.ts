/** How long a step of an engine takes: a sum of what it does, each part in milliseconds. */
export interface StepCost {
  /** Of every step. */
  readonly stepMs: number
  /** Per token of prompt that is computed. */
  readonly prefillTokenMs: number
  /** Per request in the step. */
  readonly sequenceMs: number
  /** Per token of context that a request in the step has. */
  readonly contextTokenMs: number
  /** Per token of prompt that is computed and token of context before it. */
  readonly prefillContextMs: number
}

/**
 * Qwen3-32B in bf16 on two H100: 33 GB of weights and 131 kB of KV per token and GPU at about 2.7 TB/s, the prefill rate
 * that llm-d publishes for it (15,926 tokens a second, overhead of the step included), and the attention of a prompt's
 * token to its context.
 */
export const DEFAULT_STEP_COST: StepCost = {
  stepMs: 13,
  prefillTokenMs: 0.061,
  sequenceMs: 0.03,
  contextTokenMs: 4.9e-5,
  prefillContextMs: 2.1e-6,
}

/** Prompt and answer tokens of one step at most (vLLM's `--max-num-batched-tokens`). */
export const DEFAULT_STEP_TOKENS = 8192
