// Event streams never end by themselves, so a gateway that closes ends them: their clients reconnect elsewhere at once,
// and other requests get the time to finish.

const mediaType = 'text/event-stream'

export function isEventStreamType(contentType: string | null): boolean {
  return contentType?.startsWith(mediaType) ?? false
}

export function isEventStream(response: Response): boolean {
  return isEventStreamType(response.headers.get('content-type')) && response.body !== null
}

export class EventStreams {
  readonly #open = new Set<() => void>()
  /** Answers that are tracked already: whom to tell of their end. */
  readonly #adopted = new WeakMap<Response, { onOver: () => void; isOver: boolean }>()

  get count(): number {
    return this.#open.size
  }

  /**
   * Takes an event stream that can be ended from here.
   * @returns what to call when it has ended by itself.
   */
  adopt(response: Response, end: () => void): () => void {
    const stream = { onOver: () => {}, isOver: false }
    this.#adopted.set(response, stream)
    this.#open.add(end)
    return () => {
      this.#open.delete(end)
      stream.isOver = true
      stream.onOver()
    }
  }

  /**
   * The same response, which {@link endAll} can end.
   * @param onOver called once when nothing more comes; the client may still have to read what came.
   */
  track(response: Response, onOver: () => void): Response {
    const adopted = this.#adopted.get(response)
    if (adopted !== undefined) {
      adopted.onOver = onOver
      if (adopted.isOver) onOver()
      return response
    }
    const reader = response.body!.getReader()
    let end = () => {}
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        end = () => {
          if (!this.#open.delete(end)) return
          controller.close()
          onOver()
          void reader.cancel().catch(() => {}) // it may have failed already; either way it is over
        }
        this.#open.add(end)
      },
      pull: async (controller) => {
        try {
          const { done, value } = await reader.read()
          if (!this.#open.has(end)) return
          if (done) end()
          else controller.enqueue(value)
        } catch (error) {
          if (!this.#open.delete(end)) return
          controller.error(error) // the worker died: the client must see a broken stream
          onOver()
        }
      },
      cancel: (reason) => {
        this.#open.delete(end)
        return reader.cancel(reason)
      },
    })
    return new Response(body, { status: response.status, statusText: response.statusText, headers: response.headers })
  }

  endAll(): void {
    for (const end of [...this.#open]) end()
  }
}
