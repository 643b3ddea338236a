import { SchedulerError } from '../framework/errors.ts'
import type { Counter, EndpointSink, Logger, Metrics, Notices } from '../framework/services.ts'
import { type DocumentReader, readEndpointsFile } from './endpoints-file.ts'

const SOURCE = 'file'
const NOTICE = 'endpoints-file'

/** Follows one file; calls nothing after `close`. */
export type WatchFile = (
  path: string,
  listener: { changed(text: string): void; lost(reason: string): void },
  options: { readonly initial: string },
) => { close(): void }

export interface FileDiscoveryServices {
  readonly sink: EndpointSink
  readonly logger: Logger
  readonly metrics: Metrics
  readonly notices: Notices
  /** Reads the whole file; rejects when it cannot be read or is too large. */
  readonly readText: (path: string) => Promise<string>
  readonly readDocument: DocumentReader
  readonly watchFile: WatchFile
  /** Entries that the file may have; the default when absent. */
  readonly maxEndpoints?: number
}

/** Endpoints from a watched file. A bad file, or one that vanishes, leaves the last good set in place. */
export class FileDiscovery {
  readonly #path: string
  readonly #services: FileDiscoveryServices
  readonly #logger: Logger
  readonly #loaded: Counter
  readonly #refused: Counter
  readonly #lost: Counter
  #endpoints = 0
  #watch: { close(): void } | undefined

  constructor(path: string, services: FileDiscoveryServices) {
    this.#path = path
    this.#services = services
    this.#logger = services.logger.named('discovery')
    const loads = (result: string) =>
      services.metrics.counter(
        'epp_endpoints_file_loads_total',
        'Readings of the endpoints file by result.',
        { result },
      )
    this.#loaded = loads('ok')
    this.#refused = loads('invalid')
    this.#lost = loads('unreadable')
  }

  /**
   * Reads the file, states its endpoints, and follows it from then on.
   * @throws {SchedulerError} CONFIG_INVALID when it cannot be read, or with one line per problem
   */
  async start(): Promise<void> {
    const { readText, watchFile } = this.#services
    let text: string
    try {
      text = await readText(this.#path)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      throw new SchedulerError('CONFIG_INVALID', `the endpoints file cannot be read: ${reason}`, {
        cause: error,
      })
    }
    const errors = this.#apply(text)
    if (errors.length > 0) throw new SchedulerError('CONFIG_INVALID', errors.join('\n'))
    this.#watch = watchFile(
      this.#path,
      {
        changed: (changed) => this.#reload(changed),
        lost: (reason) => this.#keep(this.#lost, [reason]),
      },
      { initial: text },
    )
  }

  stop(): void {
    this.#watch?.close()
  }

  #reload(text: string): void {
    const errors = this.#apply(text)
    if (errors.length > 0) this.#keep(this.#refused, errors)
    else
      this.#logger.info('endpoints file loaded', { file: this.#path, endpoints: this.#endpoints })
  }

  /** States the endpoints of a good text; the problems of a bad one, of which nothing is taken. */
  #apply(text: string): readonly string[] {
    const { sink, notices, readDocument } = this.#services
    const { specs, errors, warnings } = readEndpointsFile(
      text,
      this.#path,
      readDocument,
      this.#services.maxEndpoints,
    )
    if (errors.length > 0) return errors
    for (const warning of warnings) this.#logger.warnOnce(warning, warning)
    this.#endpoints = specs.length
    this.#loaded.inc()
    notices.set(NOTICE, undefined)
    sink.replace(SOURCE, specs)
    return []
  }

  #keep(counter: Counter, problems: readonly string[]): void {
    counter.inc()
    const kept = `the last ${this.#endpoints} endpoints stay`
    this.#logger.error(`endpoints file not taken; ${kept}`, { file: this.#path, problems })
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
    this.#services.notices.set(
      NOTICE,
      `the endpoints file is not taken, ${kept}: ${problems[0]}${more}`,
    )
  }
}
