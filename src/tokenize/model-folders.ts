import { existsSync, readdirSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import type { Clock, Logger, Models } from '../framework/services.ts'
import { type Doubt, doubt } from './doubt.ts'
import { TOKENIZER_FILE } from './tokenizer-file.ts'

/** How often the directory is looked at again for a model that has no folder. */
const RESCAN_MS = 10_000

/** Finds the folder of a model's tokenizer under one directory. */
export class ModelFolders {
  readonly #directory: string | undefined
  readonly #models: Pick<Models, 'baseOf'>
  readonly #clock: Clock
  readonly #logger: Logger
  #configured: Readonly<Record<string, string>> = {}
  #fallbackModel: string | undefined
  /** The paths of the folders that hold a tokenizer, by their names. */
  #present: ReadonlyMap<string, string> = new Map()
  #scannedAtMs = Number.NEGATIVE_INFINITY

  /** @param directory undefined when no tokenizers are mounted */
  constructor(
    directory: string | undefined,
    models: Pick<Models, 'baseOf'>,
    clock: Clock,
    logger: Logger,
  ) {
    this.#directory = directory
    this.#models = models
    this.#clock = clock
    this.#logger = logger
  }

  configure(folders: Readonly<Record<string, string>>, fallbackModel: string | undefined): void {
    this.#configured = folders
    this.#fallbackModel = fallbackModel
    this.#scannedAtMs = Number.NEGATIVE_INFINITY
  }

  /** Every folder that a request could need now. */
  all(): readonly string[] {
    this.#scan()
    const named = Object.values(this.#configured).map((folder) => this.#path(folder))
    const found = [...this.#present.values()]
    return [...new Set([...named, ...found])].filter(holdsTokenizer)
  }

  /**
   * The folder for a model: as configured for it or its base model; else the fallback model's; else the one of the
   * model's name, `/` written as `--`; else the only one there is.
   *
   * The name comes from a client: it is compared with the names of the directory and never becomes part of a path.
   */
  find(model: string): string | Doubt {
    const base = this.#models.baseOf(model) ?? model
    const configured = own(this.#configured, model) ?? own(this.#configured, base)
    if (configured !== undefined) return this.#checked(this.#path(configured))
    if (this.#directory === undefined) {
      return doubt('no-tokenizer', 'no tokenizer is mounted; give --tokenizers-dir')
    }
    return this.#search(base) ?? this.#searchAgain(base)
  }

  #search(base: string): string | undefined {
    for (const name of [this.#fallbackModel, base]) {
      const folder = name?.replaceAll('/', '--')
      const path = folder === undefined ? undefined : this.#present.get(folder)
      if (path !== undefined) return path
    }
    if (this.#present.size !== 1) return undefined
    const [only] = this.#present.values()
    this.#logger.warnOnce(
      'only-tokenizer',
      'the only tokenizer there is serves every model that has no folder of its own',
      { folder: only },
    )
    return only
  }

  #searchAgain(base: string): string | Doubt {
    if (this.#clock.nowMs() - this.#scannedAtMs >= RESCAN_MS) {
      this.#scan()
      const found = this.#search(base)
      if (found !== undefined) return found
    }
    return doubt(
      'no-tokenizer',
      `no folder of ${this.#directory} belongs to the model; name it in "tokenizers" of the configuration`,
    )
  }

  /** A directory that is itself a model's folder counts as its only one. */
  #scan(): void {
    this.#scannedAtMs = this.#clock.nowMs()
    if (this.#directory === undefined) return
    try {
      const directory = this.#directory
      const names = readdirSync(directory).filter((name) => holdsTokenizer(join(directory, name)))
      const isFolder = names.length === 0 && holdsTokenizer(directory)
      this.#present = new Map((isFolder ? ['.'] : names).map((name) => [name, this.#path(name)]))
    } catch (error) {
      this.#present = new Map()
      this.#logger.warnOnce('tokenizers-dir', 'the tokenizers directory cannot be read', {
        directory: this.#directory,
        error: String(error),
      })
    }
  }

  #path(folder: string): string {
    return isAbsolute(folder) ? folder : join(this.#directory ?? '.', folder)
  }

  #checked(path: string): string | Doubt {
    if (holdsTokenizer(path)) return path
    return doubt('no-tokenizer', `${path} is configured as tokenizer but has no ${TOKENIZER_FILE}`)
  }
}

function holdsTokenizer(path: string): boolean {
  return existsSync(join(path, TOKENIZER_FILE))
}

function own(record: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined
}
