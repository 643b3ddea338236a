import 'reflect-metadata'
import { type DependencyContainer, container as root } from 'tsyringe'
import { SchedulerError } from './errors.ts'
import type { Inject, Services, Token } from './token.ts'

/**
 * The services of the process, or of one configuration generation on top of them; the one file that knows tsyringe.
 *
 * A service is built once, on first use, and closed in reverse order of building.
 */
export class Container implements AsyncDisposable {
  readonly #tsyringe: DependencyContainer
  readonly #building: string[]
  readonly #built: unknown[] = []

  constructor(parent?: Container) {
    this.#tsyringe = (parent ? parent.#tsyringe : root).createChildContainer()
    this.#building = parent ? parent.#building : []
  }

  /** Says how the service of `token` is made; `create` runs at most once. */
  provide<T, I extends Inject>(
    token: Token<T>,
    inject: I,
    create: (services: Services<I>) => NoInfer<T>,
  ): this {
    let service: { readonly value: T } | undefined
    this.#tsyringe.register(token.symbol, {
      useFactory: () => {
        service ??= { value: this.#build(token, inject, create) }
        return service.value
      },
    })
    return this
  }

  /** @throws {SchedulerError} SERVICE_MISSING, naming the service and `asker` */
  get<T>(token: Token<T>, asker = 'the application'): T {
    if (!this.#tsyringe.isRegistered(token.symbol, true)) {
      throw new SchedulerError(
        'SERVICE_MISSING',
        `${asker} asks for the service ${token.name}, which nothing provides; check the plugin's inject`,
      )
    }
    return this.#tsyringe.resolve<T>(token.symbol)
  }

  /** All services that `asker` wants, by the names under which it wants them. */
  getAll<I extends Inject>(inject: I, asker: string): Services<I> {
    return Object.fromEntries(
      Object.entries(inject).map(([name, token]) => [name, this.get(token, asker)]),
    ) as Services<I>
  }

  /** Closes every service; @throws what the first of those said that could not be closed, after the others are. */
  async [Symbol.asyncDispose](): Promise<void> {
    const faults: unknown[] = []
    for (const service of this.#built.splice(0).reverse()) {
      if (typeof service !== 'object' || service === null) continue
      try {
        if (Symbol.asyncDispose in service) {
          await (service as AsyncDisposable)[Symbol.asyncDispose]()
        } else if (Symbol.dispose in service) (service as Disposable)[Symbol.dispose]()
      } catch (fault) {
        faults.push(fault)
      }
    }
    await this.#tsyringe.dispose()
    if (faults.length > 0) throw faults[0]
  }

  #build<T, I extends Inject>(token: Token<T>, inject: I, create: (services: Services<I>) => T): T {
    if (this.#building.includes(token.name)) {
      const cycle = [...this.#building, token.name].join(' -> ')
      throw new SchedulerError('SERVICE_CYCLE', `services need each other: ${cycle}`)
    }
    this.#building.push(token.name)
    try {
      const service = create(this.getAll(inject, token.name))
      this.#built.push(service)
      return service
    } finally {
      this.#building.pop()
    }
  }
}
