// Lines out of a stream, where the other end may send anything.

/** Calls `onLine` for each line, without its end; resolves at the end of the stream, or once a line exceeds the bound. */
export async function parseBoundedLines(
  input: ReadableStream<Uint8Array>,
  lineCharsMax: number,
  onLine: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder()
  const reader = input.getReader()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += decoder.decode(value, { stream: true })
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      onLine(text.slice(0, end))
      text = text.slice(end + 1)
    }
    if (text.length > lineCharsMax) {
      await reader.cancel()
      return
    }
  }
}
