import type { EventIntake, EventSource } from './event-intake.ts'
import type { MessageSink } from './zmq-intake.ts'

/** Hands what comes in on one bound socket to the pool whose endpoint it speaks for, or to each pool that shares it. */
export class SharedIntake implements MessageSink {
  readonly #intakes = new Set<EventIntake>()

  /** @returns a function that takes it away again */
  add(intake: EventIntake): () => void {
    this.#intakes.add(intake)
    return () => {
      this.#intakes.delete(intake)
    }
  }

  receive(source: EventSource, frames: readonly Uint8Array[]): void {
    const intakes = [...this.#intakes]
    const [topic] = frames
    const knowing =
      intakes.length > 1 && topic ? intakes.filter((intake) => intake.knows(topic)) : []
    // What nobody knows is dropped and counted by one of them.
    for (const intake of knowing.length > 0 ? knowing : intakes.slice(0, 1)) {
      intake.receive(source, frames)
    }
  }
}
