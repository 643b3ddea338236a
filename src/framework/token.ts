/** A typed key for one injected service. Two tokens are never equal, whatever their names. */
export interface Token<T> {
  readonly symbol: symbol
  readonly name: string
  readonly _service?: T
}

/** The services that something asks for, by the name under which it gets them. */
export type Inject = Readonly<Record<string, Token<unknown>>>

/** The services themselves, in the shape in which they were asked for. */
export type Services<I extends Inject> = {
  readonly [K in keyof I]: I[K] extends Token<infer T> ? T : never
}

export function token<T>(name: string): Token<T> {
  return { symbol: Symbol(name), name }
}
