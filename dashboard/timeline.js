/**
 * @typedef {import('../src/admin/sources.ts').RoutingSecond} RoutingSecond
 * @typedef {import('../src/admin/sources.ts').RoutingSums} RoutingSums
 */

/** Seconds that one point of a chart stands for. */
export const BIN_SECONDS = 5
const LEAST_SHOWN_SECONDS = 120

/** @returns {{ -readonly [K in keyof RoutingSums]: number }} */
function nothing() {
  return {
    ...{ requests: 0, answers: 0, promptTokens: 0, cachedTokens: 0, comparedPromptTokens: 0 },
    ...{ predictedTokens: 0, comparedCachedTokens: 0, offeredTokens: 0 },
  }
}

/** The seconds that the picker has told of, the oldest first; quiet ones are not there. */
export class Timeline {
  /** @type {RoutingSecond[]} */
  #seconds = []
  /** The last whole second of the picker's clock. */
  #end = 0
  keptSeconds = 900

  /** @param {import('../src/admin/overview.ts').Overview} overview */
  add({ seconds, nowMs, keptSeconds }) {
    this.keptSeconds = keptSeconds
    const last = this.#seconds.at(-1)?.second ?? 0
    this.#seconds.push(...seconds.filter(({ second }) => second > last))
    this.#end = Math.floor(nowMs / 1000) - 1
    const oldest = this.#end - keptSeconds
    while (this.#seconds[0] !== undefined && this.#seconds[0].second <= oldest) {
      this.#seconds.shift()
    }
  }

  /**
   * Sums of the last so many seconds.
   *
   * @param {number} seconds
   */
  sums(seconds) {
    const sums = nothing()
    for (const each of this.#seconds) if (each.second > this.#end - seconds) addTo(sums, each)
    return sums
  }

  /**
   * Sums of whole bins, the oldest first, from the first second that is known.
   *
   * @returns {{ times: number[], bins: ReturnType<typeof nothing>[], endpoints: Map<string, number[]> }}
   *   `times` in seconds since 1970, where bins begin; `endpoints` requests of each bin by `host:port`
   */
  bins() {
    const end = Math.floor((this.#end + 1) / BIN_SECONDS)
    const known = this.#seconds[0]?.second ?? this.#end
    const first = Math.min(known, this.#end - LEAST_SHOWN_SECONDS)
    const begin = Math.ceil(Math.max(first, this.#end - this.keptSeconds) / BIN_SECONDS)
    const length = Math.max(0, end - begin)
    const times = Array.from({ length }, (_, i) => (begin + i) * BIN_SECONDS)
    const bins = times.map(nothing)
    /** @type {Map<string, number[]>} */
    const endpoints = new Map()
    for (const each of this.#seconds) {
      const at = Math.floor(each.second / BIN_SECONDS) - begin
      const bin = bins[at]
      if (bin === undefined) continue
      addTo(bin, each)
      for (const [name, requests] of Object.entries(each.byEndpoint)) {
        let counts = endpoints.get(name)
        if (counts === undefined) {
          counts = Array(length).fill(0)
          endpoints.set(name, counts)
        }
        counts[at] = (counts[at] ?? 0) + requests
      }
    }
    return { times, bins, endpoints }
  }
}

/**
 * @param {ReturnType<typeof nothing>} sums
 * @param {RoutingSums} more
 */
function addTo(sums, more) {
  for (const key of /** @type {(keyof RoutingSums)[]} */ (Object.keys(sums))) sums[key] += more[key]
}
