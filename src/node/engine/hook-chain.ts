// A chain of handlers around one operation: each does its part before and after `e.next()`, or stops the operation by
// not calling it. Hooks, audit, quotas, realtime and GraphQL hang on these chains. PocketBase: tools/hook.

import type { MaybePromise } from '../../lib/result.ts'

/** What travels through a chain. `next` is set by {@link HookChain.trigger}. */
export interface ChainEvent {
  next(): MaybePromise<void>
}

export interface ChainHandler<E extends ChainEvent> {
  readonly id: string
  /** Lower runs first (outermost); equal ones in the order of binding. Default 0. */
  readonly priority?: number
  /** Collection ids or names it is for; empty or missing: all. */
  readonly tags?: readonly string[]
  readonly handle: (event: E) => MaybePromise<void>
}

/** Handlers of one chain; more are a leak. */
const handlersMax = 1_000

export class HookChain<E extends ChainEvent> {
  #handlers: readonly ChainHandler<E>[] = []

  get isEmpty(): boolean {
    return this.#handlers.length === 0
  }

  /** Adds a handler, or replaces the one with the same id. Returns what removes it. */
  bind(handler: ChainHandler<E>): () => void {
    const others = this.#handlers.filter((each) => each.id !== handler.id)
    if (others.length >= handlersMax) throw new RangeError(`a chain takes at most ${handlersMax} handlers`)
    const at = others.findIndex((each) => (each.priority ?? 0) > (handler.priority ?? 0))
    this.#handlers = at < 0 ? [...others, handler] : [...others.slice(0, at), handler, ...others.slice(at)]
    return () => {
      this.#handlers = this.#handlers.filter((each) => each !== handler)
    }
  }

  /**
   * Runs the handlers that are for `tags` around `finalizer`. Synchronous when nothing in the chain is asynchronous, so
   * that an unhooked operation costs one call.
   */
  trigger(event: E, finalizer: () => MaybePromise<void>, tags: readonly string[] = []): MaybePromise<void> {
    const handlers = this.#handlers
    if (handlers.length === 0) {
      event.next = noNext
      return finalizer()
    }
    const chosen = handlers.filter((each) => !each.tags?.length || each.tags.some((tag) => tags.includes(tag)))
    const run = (index: number): MaybePromise<void> => {
      const handler = chosen[index]
      if (handler === undefined) {
        event.next = noNext
        return finalizer()
      }
      event.next = () => run(index + 1)
      return handler.handle(event)
    }
    return run(0)
  }
}

/** `next` of the innermost step: there is nothing further in. */
function noNext(): void {}
