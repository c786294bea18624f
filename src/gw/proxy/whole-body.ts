// The body of an answer that is there in full. Bun's server has a buffer of 16 KiB for what an answer writes; a larger one
// that comes in a later turn of the event loop, as all of a proxy's do, overflows it and costs 50 us more than the same
// bytes through a stream. A stream that ends before its high-water mark is reached is sent at once, with its length.

/** Bytes; the head of the answer goes into the same buffer. */
const bufferedBytesMax = 14 * 1024

/** What to make a Response of; its Content-Length is that of `bytes`. */
export function wholeBody(bytes: Uint8Array<ArrayBuffer>): Bun.BodyInit {
  if (bytes.length <= bufferedBytesMax) return bytes
  const source: Bun.DirectUnderlyingSource<Uint8Array> = {
    type: 'direct',
    pull(controller) {
      controller.write(bytes)
      controller.end()
    },
  }
  return new ReadableStream(source, { highWaterMark: bytes.length + 1 })
}
