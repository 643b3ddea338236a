import type { Endpoint } from '../framework/endpoint.ts'
import type { PrefixFinding, PrefixMatch, TruthReason } from '../framework/services.ts'
import type { RequestPart } from './format.ts'

/** What one endpoint carried of this picker's requests at a pick. */
export interface RecordedLoad {
  readonly requests: number
  readonly lastPick: number
  readonly tokens: number
  readonly queuedTokens: number
  readonly contextTokens: number
  readonly pendingKvTokens: number
}

/** One endpoint at a pick. */
export interface RecordedEndpoint {
  readonly endpoint: Endpoint
  readonly load: RecordedLoad
}

/** The configuration that made decisions. */
export interface RecordedConfiguration {
  readonly pool: string | undefined
  readonly generation: number
  readonly source: string
  readonly text: string
  readonly headers: readonly string[]
  readonly services: readonly string[]
}

/** What endpoints held of a prompt, in the order of the candidates. */
export interface RecordedFinding extends Pick<PrefixFinding, 'source' | 'tracked' | 'told'> {
  readonly match: PrefixMatch
  readonly distrusted: readonly (TruthReason | undefined)[] | undefined
}

/** One decision as it was recorded, with the whole state that it was made from. */
export interface RecordedDecision {
  readonly file: string
  readonly line: number
  /** Number in the recording. */
  readonly number: number
  readonly configuration: RecordedConfiguration
  readonly atMs: number
  readonly nowMs: number
  readonly seed: number
  readonly request: RequestPart
  readonly endpoints: readonly RecordedEndpoint[]
  readonly candidates: readonly RecordedEndpoint[]
  readonly meanOutputTokens: number
  readonly finding: RecordedFinding | undefined
  readonly routed: PrefixMatch | undefined
  readonly ghost: PrefixMatch | undefined
  /** Prompt tokens in blocks that some earlier prompt of the same file had; undefined without keys. */
  readonly seenTokens: number | undefined
  /** The target first; empty when nobody was picked. */
  readonly picked: readonly Endpoint[]
  readonly profile: string | undefined
  /** Why nobody was picked. */
  readonly error: string | undefined
}

/** What became of a decision. */
export interface RecordedOutcome {
  readonly number: number
  readonly end: string
  readonly status: number | undefined
  readonly usage:
    | {
        readonly promptTokens: number
        readonly completionTokens: number
        readonly cachedTokens: number | undefined
      }
    | undefined
  readonly firstByteMs: number | undefined
  readonly durationMs: number
}
