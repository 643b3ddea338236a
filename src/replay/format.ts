import { type Static, Type } from 'typebox'

/** What a recording is called in its first line, and the version of what follows. */
export const RECORDING = 'endpoint-picker'
export const FORMAT = 1

/** Request headers whose values are never recorded as they are: what they hold are credentials. */
export const SECRET_HEADERS: ReadonlySet<string> = new Set([
  ...['authorization', 'proxy-authorization', 'cookie', 'set-cookie'],
  ...['api-key', 'apikey', 'x-api-key', 'x-goog-api-key', 'x-auth-token', 'x-amz-security-token'],
])

/** The numbers of an endpoint's state, in the order of the bits that say which of them have changed. */
export const STATE_FIELDS = [
  ...(['waiting', 'running', 'kvCacheUsage', 'scrapedAtMs'] as const),
  ...(['queriedTokens', 'hitTokens', 'finishedRequests'] as const),
  ...(['requests', 'lastPick', 'tokens', 'queuedTokens'] as const),
  ...(['contextTokens', 'pendingKvTokens'] as const),
] as const
export type StateField = (typeof STATE_FIELDS)[number]
/** Position in the list. */
export const STATE = Object.fromEntries(STATE_FIELDS.map((field, i) => [field, i])) as Readonly<
  Record<StateField, number>
>
/** Fields up to this one are what the endpoint said; where it said nothing `scrapedAtMs` is null. */
export const SAID_FIELDS = STATE.finishedRequests + 1

const Whole = Type.Integer({ minimum: 0 })
const Names = Type.Array(Type.String())
const Maybe = Type.Union([Type.Number(), Type.Null()])
/** One number for all, or one for each. */
const Packed = Type.Union([Type.Number(), Type.Array(Type.Number())])

/** The first line of each file. */
export const HeaderLine = Type.Object({
  recording: Type.String(),
  format: Type.Integer(),
  /** Version of the program that wrote it. */
  picker: Type.String(),
  /** Epoch milliseconds. */
  at: Type.Number(),
})

/** A configuration, before the first decision that it made. */
export const ConfigurationLine = Type.Object({
  k: Type.Literal('c'),
  /** Number of the pool in this file. */
  p: Whole,
  /** `namespace/name`; null where endpoints come from flags or a file. */
  pool: Type.Union([Type.String(), Type.Null()]),
  generation: Whole,
  source: Type.String(),
  text: Type.String(),
  /** Headers that are recorded under it. */
  headers: Names,
  /** Services that its plugins asked for. */
  services: Names,
})

/** An endpoint that was not there before, or has other labels. */
export const EndpointLine = Type.Object({
  k: Type.Literal('e'),
  p: Whole,
  /** Number of the endpoint in this file and pool. */
  n: Whole,
  id: Type.String(),
  slot: Whole,
  namespace: Type.String(),
  name: Type.String(),
  address: Type.String(),
  port: Whole,
  hostPort: Type.String(),
  rank: Whole,
  labels: Type.Record(Type.String(), Type.String()),
})

/** What endpoints held of a prompt, in the order of the candidates. */
export const MatchPart = Type.Object({
  /** Whole blocks. */
  b: Packed,
  /** The same weighted by medium, where that differs. */
  w: Type.Optional(Packed),
  /** Tokens of a block. */
  z: Packed,
  /** Blocks that could match. */
  u: Packed,
})
export type MatchPart = Static<typeof MatchPart>

const FindingPart = Type.Object({
  ...MatchPart.properties,
  source: Type.Union([Type.Literal('tracked'), Type.Literal('routed')]),
  tracked: Whole,
  /** 1 where events told it. */
  told: Type.Optional(Packed),
  distrusted: Type.Optional(Type.Array(Type.Union([Type.String(), Type.Null()]))),
})
export type FindingPart = Static<typeof FindingPart>

const Adapters = Type.Object({ running: Names, waiting: Names, max: Type.Number() })

/** What an endpoint says of itself and that seldom changes. */
export const DetailsPart = Type.Object({
  blockTokens: Type.Optional(Type.Number()),
  kvBlocks: Type.Optional(Type.Number()),
  hashAlgorithm: Type.Optional(Type.String()),
  adapters: Type.Optional(Adapters),
  custom: Type.Optional(Type.Record(Type.String(), Maybe)),
})
export type DetailsPart = Static<typeof DetailsPart>

export const RequestPart = Type.Object({
  /** The first 12 hex digits of the SHA-256 of its id. */
  id: Type.String(),
  model: Type.String(),
  /** Where it is another. */
  target: Type.Optional(Type.String()),
  criticality: Type.Enum(['Critical', 'Standard', 'Sheddable']),
  priority: Type.Number(),
  /** One of the APIs' paths; absent for any other. */
  path: Type.Optional(Type.String()),
  /** 1 when it streams. */
  stream: Type.Optional(Type.Literal(1)),
  maxOutputTokens: Type.Optional(Type.Number()),
  bytes: Whole,
  /** 1 when it has a prompt. */
  prompt: Type.Optional(Type.Literal(1)),
  /** The first 8 hex digits of the SHA-256 of its cache salt. */
  salt: Type.Optional(Type.String()),
  headers: Type.Optional(Type.Record(Type.String(), Type.String())),
  tokens: Type.Optional(
    Type.Object({
      /** Of each prompt. */
      n: Type.Array(Whole),
      exact: Type.Boolean(),
      reason: Type.Optional(Type.String()),
      exactUpTo: Type.Optional(Type.Number()),
    }),
  ),
})
export type RequestPart = Static<typeof RequestPart>

/**
 * The picker's own keys of a request's blocks at one block size. Blocks get numbers in the order in which they first come;
 * a prompt is told as the number of its last block that is known, and the keys of those after it.
 */
export const KeysPart = Type.Object({
  /** Tokens of a block. */
  z: Whole,
  /** For each prompt: blocks, those of them that are known, the number of the last of these or -1, 8 bytes for each other in base64. */
  c: Type.Array(Type.Tuple([Whole, Whole, Type.Integer({ minimum: -1 }), Type.String()])),
})
export type KeysPart = Static<typeof KeysPart>

/** One decision, with what has changed since the one before. */
export const DecisionLine = Type.Object({
  k: Type.Literal('d'),
  p: Whole,
  /** Of the configuration. */
  g: Whole,
  /** Number of the decision in the recording. */
  q: Whole,
  /** Epoch milliseconds. */
  t: Type.Number(),
  /** Monotonic milliseconds. */
  n: Type.Number(),
  /** Seed of what was drawn. */
  s: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
  r: RequestPart,
  /** All endpoints of the pool, where others than before. */
  l: Type.Optional(Type.Array(Whole)),
  /** Candidates, where not all. */
  c: Type.Optional(Type.Array(Whole)),
  /** Endpoint, bits of the fields of its state that have changed, their values. */
  e: Type.Optional(Type.Array(Type.Array(Maybe))),
  /** By endpoint. */
  i: Type.Optional(Type.Record(Type.String(), DetailsPart)),
  /** Mean tokens of an answer, where another than before. */
  o: Type.Optional(Type.Number()),
  /** What a prefix matcher, the index of routed prompts, and the one with a longer memory say. */
  f: Type.Optional(FindingPart),
  ro: Type.Optional(MatchPart),
  gh: Type.Optional(MatchPart),
  b: Type.Optional(Type.Array(KeysPart)),
  /** Those that were picked, the target first; empty when it failed. */
  pick: Type.Array(Whole),
  profile: Type.Optional(Type.String()),
  /** Endpoints that were scored, where not all candidates were, and their totals to 6 digits. */
  sc: Type.Optional(Type.Array(Whole)),
  to: Type.Optional(Type.Array(Maybe)),
  /** Why nobody was picked. */
  error: Type.Optional(Type.String()),
})
export type DecisionLine = Static<typeof DecisionLine>

/** What became of a decision. */
export const OutcomeLine = Type.Object({
  k: Type.Literal('o'),
  q: Whole,
  end: Type.String(),
  status: Type.Optional(Type.Number()),
  /** Prompt, completion, cached tokens as the engine counted them; null where it does not say. */
  u: Type.Optional(Type.Tuple([Type.Number(), Type.Number(), Maybe])),
  /** Milliseconds to the first byte. */
  first: Type.Optional(Type.Number()),
  /** Milliseconds to the end. */
  ms: Type.Number(),
})
export type OutcomeLine = Static<typeof OutcomeLine>

/** As one number where all are the same. */
export function packed(values: ArrayLike<number>): number | number[] {
  const first = values[0] ?? 0
  for (let i = 1; i < values.length; i++) if (values[i] !== first) return Array.from(values)
  return first
}
