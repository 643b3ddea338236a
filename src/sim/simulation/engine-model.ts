import type { StepCost } from '../step-cost.ts'
import { DEFAULT_STEP_COST, DEFAULT_STEP_TOKENS } from '../step-cost.ts'

/** What one simulated engine can do. */
export interface EngineModel {
  readonly cost: StepCost
  /** Tokens that its KV cache holds. */
  readonly kvTokens: number
  /** Requests that run at once. */
  readonly maxRunning: number
  /** Prompt and answer tokens of one step at most. */
  readonly stepTokens: number
  readonly blockTokens: number
}

/** Qwen3-32B on two H100, as llm-d's published benchmarks have it. */
export const DEFAULT_ENGINE_MODEL: EngineModel = {
  cost: DEFAULT_STEP_COST,
  kvTokens: 307_328,
  maxRunning: 256,
  stepTokens: DEFAULT_STEP_TOKENS,
  blockTokens: 64,
}
