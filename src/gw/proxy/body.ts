// A request body that can be sent again while little of it has been read. Small bodies are read whole first; large ones
// stream, and what was already pulled is kept until it exceeds a bound.

/** Bodies of a declared length up to this are read before they are sent, bytes: nearly every API call. */
const bufferedBytesMax = 64 * 1024
/** What a stream may have given away and still be replayed, bytes. */
const replayBytesMax = 256 * 1024

export interface RequestBody {
  /** What to hand to `fetch` for the next attempt. */
  next(): Bun.BodyInit | null
  /** Whether {@link next} may be called again. */
  readonly isReplayable: boolean
}

const noBody: RequestBody = { next: () => null, isReplayable: true }

/** Rejects when the client goes away while a small body is read. */
export async function requestBody(request: Request): Promise<RequestBody> {
  if (request.body === null) return noBody
  const declared = request.headers.get('content-length')
  if (declared !== null && Number(declared) <= bufferedBytesMax) {
    const bytes = await request.bytes()
    return { next: () => bytes, isReplayable: true }
  }
  return new StreamedBody(request.body)
}

class StreamedBody implements RequestBody {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  /** Everything pulled so far; null once it grew too large to keep. */
  #kept: Uint8Array[] | null = []
  #keptBytes = 0
  /** The attempt that may pull; an abandoned one must not steal chunks from its successor. */
  #attempt = 0
  #pulling: Promise<{ done: boolean; value?: Uint8Array }> | null = null
  #ended = false

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader() as ReadableStreamDefaultReader<Uint8Array>
  }

  get isReplayable(): boolean {
    return this.#kept !== null
  }

  next(): Bun.BodyInit {
    const attempt = ++this.#attempt
    let position = 0
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          for (;;) {
            if (attempt !== this.#attempt) return controller.error(new Error('the attempt was given up'))
            const again = this.#kept?.[position]
            if (again !== undefined) {
              position++
              return controller.enqueue(again)
            }
            if (this.#ended) return controller.close()
            const chunk = await this.#pull(attempt)
            if (chunk !== null) return controller.enqueue(chunk)
          }
        },
      },
      { highWaterMark: 0 },
    )
  }

  /** Reads one chunk for `attempt`. Null when it was kept (look there), or when there is no more. */
  async #pull(attempt: number): Promise<Uint8Array | null> {
    const isMine = this.#pulling === null
    this.#pulling ??= this.#reader.read()
    const { done, value } = await this.#pulling
    if (!isMine) return null // the attempt that asked first, and was given up, keeps it for us
    this.#pulling = null
    if (done || value === undefined) {
      this.#ended = true
      return null
    }
    // Every chunk goes through `kept` while there is one, so that a pull whose attempt was given up loses nothing.
    const isCurrent = attempt === this.#attempt
    if (this.#kept !== null && !(isCurrent && this.#keptBytes + value.length > replayBytesMax)) {
      this.#kept.push(value)
      this.#keptBytes += value.length
      return null
    }
    this.#kept = null // the one attempt there is has had all of it, because it asks for one chunk at a time
    return value
  }
}
