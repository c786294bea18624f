// Event streams never end by themselves, so a gateway that closes ends them: their clients reconnect elsewhere at once,
// and other requests get the time to finish.

const mediaType = 'text/event-stream'

export function isEventStream(response: Response): boolean {
  return response.body !== null && (response.headers.get('content-type')?.startsWith(mediaType) ?? false)
}

export class EventStreams {
  readonly #open = new Set<() => void>()

  get count(): number {
    return this.#open.size
  }

  /** The same response, which {@link endAll} can end. */
  track(response: Response): Response {
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
