import { networkAddress } from '../framework/endpoint.ts'
import type { Clock, Endpoints } from '../framework/services.ts'
import type { Ejections } from './ejections.ts'
import { type EnginePools, getSmall } from './engine-pools.ts'

const PATH = '/v1/models'
const TIMEOUT_MS = 2000
const MAX_BYTES = 1024 * 1024
const MAX_MODELS = 10_000
/** An answer serves those who ask within this time. */
const FRESH_MS = 1000
/** Credentials whose answers are remembered at once. */
const MAX_REMEMBERED = 16

interface Remembered {
  readonly atMs: number
  readonly body: Promise<string | undefined>
}

/** The models of all engines in one OpenAI list. */
export class ModelList {
  readonly #parts: ModelListParts
  /** By the `authorization` that the engines were sent. */
  readonly #remembered = new Map<string, Remembered>()

  constructor(parts: ModelListParts) {
    this.#parts = parts
  }

  /**
   * The list's JSON: each id once, as the first endpoint that has it describes it, in the order of endpoints. Engines that do
   * not answer are left out; undefined when none does.
   *
   * @param authorization what the client wants the engines to be sent
   */
  json(authorization: string | undefined): Promise<string | undefined> {
    const key = authorization ?? ''
    const nowMs = this.#parts.clock.nowMs()
    const before = this.#remembered.get(key)
    if (before !== undefined && nowMs - before.atMs < FRESH_MS) return before.body
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear()
    const body = this.#gather(authorization === undefined ? {} : { authorization })
    this.#remembered.set(key, { atMs: nowMs, body })
    return body
  }

  async #gather(headers: Readonly<Record<string, string>>): Promise<string | undefined> {
    const { endpoints, ejections, pools } = this.#parts
    const servers = new Set(endpoints.list().map(({ hostPort }) => networkAddress(hostPort)))
    const asked = [...servers].filter((address) => !ejections.avoid?.has(address))
    const lists = await Promise.all(
      asked.map(async (address) => {
        const limits = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES }
        const answer = await getSmall(pools.get(address), PATH, headers, limits)
        return 'body' in answer && answer.status === 200 ? modelsOf(answer.body) : undefined
      }),
    )
    if (lists.every((list) => list === undefined)) return undefined
    const byId = new Map<string, unknown>()
    for (const { id, model } of lists.flatMap((list) => list ?? [])) {
      if (!byId.has(id) && byId.size < MAX_MODELS) byId.set(id, model)
    }
    return JSON.stringify({ object: 'list', data: [...byId.values()] })
  }
}

export interface ModelListParts {
  readonly endpoints: Endpoints
  readonly ejections: Ejections
  readonly pools: EnginePools
  readonly clock: Clock
}

/** Undefined for what is not an OpenAI list. */
function modelsOf(
  body: Buffer,
): readonly { readonly id: string; readonly model: unknown }[] | undefined {
  let parsed: { readonly data?: unknown } | null
  try {
    parsed = JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
  const data = parsed?.data
  if (!Array.isArray(data)) return undefined
  return data.flatMap((model: { readonly id?: unknown } | null) =>
    typeof model?.id === 'string' ? [{ id: model.id, model }] : [],
  )
}
