/** What a plugin's author may import; published as `endpoint-picker/plugin`. */

export { Type } from 'typebox'
export {
  type AttributeKey,
  Attributes,
  attributeKey,
  PROMPT_TOKENS,
  type PromptTokens,
} from './attributes.ts'
export { Cancellation } from './cancellation.ts'
export type { AdapterLoad, Endpoint, EndpointMetrics } from './endpoint.ts'
export { type ErrorCode, SchedulerError } from './errors.ts'
export {
  type ConfiguredPlugin,
  definePlugin,
  type EndReason,
  type Filter,
  type Handler,
  type HandlerStep,
  type Kind,
  type Observer,
  type Outcome,
  type Picker,
  type Plugin,
  type PluginUse,
  type Producer,
  type ProfileResults,
  type Reads,
  type Remark,
  type ResponseStart,
  type Scored,
  type Scorer,
  type ScorerReport,
  type Usage,
} from './plugin.ts'
export type { Criticality, InferenceRequest, Prompt } from './request.ts'
export type { Decision, FilterTrace, ProfileTrace, ScorerTrace } from './routing/decision.ts'
export {
  CLOCK,
  type Clock,
  ENDPOINTS,
  type Endpoints,
  IN_FLIGHT,
  type InFlight,
  PREFIX_FINDING,
  PREFIX_INDEX,
  PREFIX_MATCHER,
  type PrefixFinding,
  type PrefixMatch,
  type PrefixMatcher,
  RANDOM,
  type Random,
  ROUTED_PREFIX_INDEX,
  type RoutedPrefixIndex,
  type TrackedPrefixIndex,
} from './services.ts'
export { type Token, token } from './token.ts'
