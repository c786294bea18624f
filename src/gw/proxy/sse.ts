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
  /** Answers that are tracked already. */
  readonly #adopted = new WeakSet<Response>()

  get count(): number {
    return this.#open.size
  }

  /**
   * Takes an event stream that can be ended from here.
   * @returns what to call when it has ended by itself.
   */
  adopt(response: Response, end: () => void): () => void {
    this.#adopted.add(response)
    this.#open.add(end)
    return () => this.#open.delete(end)
  }

  /** The same response, which {@link endAll} can end. */
  track(response: Response): Response {
    if (this.#adopted.has(response)) return response
    const reader = response.body!.getReader()
    let end = () => {}
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        end = () => {
          if (!this.#open.delete(end)) return
          controller.close()
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
          if (this.#open.delete(end)) controller.error(error) // the worker died: the client must see a broken stream
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
