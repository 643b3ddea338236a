import { type Doubt, doubt } from './doubt.ts'

/** Ids of a request's prompts, one array for each; `doubt` when the engine's may differ. */
export interface Tokens {
  readonly prompts: readonly Int32Array[]
  readonly doubt: Doubt | undefined
  /** With a doubt: how many ids at the beginning of the first prompt are the engine's nevertheless; 0 when absent. */
  readonly exactUpTo?: number
}

/** Ids of the prompts, or why there are none. */
export type Outcome = Tokens | Doubt

const TOO_SLOW = doubt('too-slow', 'the ids were not there in time')

/** The outcome, or a doubt when the time is up or the signal fires. What comes later still fills the cache. */
export function withinBudget(
  outcome: Promise<Outcome>,
  budgetMs: number,
  signal: AbortSignal,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const giveUp = (): void => settle(TOO_SLOW)
    const timer = setTimeout(giveUp, budgetMs)
    const settle = (result: Outcome): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
      resolve(result)
    }
    signal.addEventListener('abort', giveUp)
    if (signal.aborted) giveUp()
    void outcome.then(settle)
  })
}
