/** Values that belong to objects, as those of a WeakMap do: nobody else sees them, and they go with their object. */
export interface SideTable<Key extends object, Value> {
  get(key: Key): Value | undefined
  set(key: Key, value: Value): void
}

/** Gives back the object that it is given, so that the fields of a class that extends it are put on that object. */
class Given {
  constructor(object: object) {
    // biome-ignore lint/correctness/noConstructorReturn: that is what it is for
    return object
  }
}

/**
 * A table for objects that live as long as a request does. V8 takes all values of an old WeakMap for alive until the whole heap is
 * collected, whatever became of their keys (scavenger.cc, VisitEphemeronHashTable): for each request that took 2 µs more, and
 * kept its token ids in memory for as long.
 */
export function sideTable<Key extends object, Value>(): SideTable<Key, Value> {
  return class Side extends Given {
    #value: Value

    private constructor(key: Key, value: Value) {
      super(key)
      this.#value = value
    }

    static get(key: Key): Value | undefined {
      return #value in key ? (key as unknown as Side).#value : undefined
    }

    static set(key: Key, value: Value): void {
      if (#value in key) (key as unknown as Side).#value = value
      else new Side(key, value)
    }
  }
}
