// A child process gets its configuration as one JSON line on standard input, so that no secret stands in argv or the
// environment, and lives only as long as that input stays open: a killed parent never leaves children behind.

import { ConfigError } from './errors.ts'

/** Longest configuration line, bytes. */
const lineBytesMax = 1024 * 1024

export interface LifeLine {
  /** The parsed first line; the caller checks its shape. */
  readonly config: unknown
  /** Resolves when the parent has closed the input or died. */
  readonly ended: Promise<void>
}

/** Reads the first line of `input` and keeps watching for its end; later lines go to `onLine`, where given. */
export async function readLifeLine(
  input: ReadableStream<Uint8Array> = Bun.stdin.stream(),
  onLine?: (line: string) => void,
): Promise<LifeLine> {
  const reader = input.getReader()
  const decoder = new TextDecoder()
  let text = ''
  while (!text.includes('\n')) {
    const { done, value } = await reader.read()
    if (done) throw new ConfigError('standard input ended before the configuration line')
    text += decoder.decode(value, { stream: true })
    if (text.length > lineBytesMax) throw new ConfigError(`the configuration line is longer than ${lineBytesMax} bytes`)
  }
  const end = text.indexOf('\n')
  let config: unknown
  try {
    config = JSON.parse(text.slice(0, end))
  } catch (error) {
    throw new ConfigError('the configuration line is not JSON', { cause: error })
  }
  return { config, ended: watch(reader, decoder, text.slice(end + 1), onLine) }
}

async function watch(
  reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> },
  decoder: TextDecoder,
  rest: string,
  onLine?: (line: string) => void,
): Promise<void> {
  let text = rest
  for (;;) {
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      onLine?.(text.slice(0, end))
      text = text.slice(end + 1)
    }
    if (text.length > lineBytesMax) return // a parent that floods us is as good as gone
    const { done, value } = await reader.read()
    if (done) return
    text += decoder.decode(value, { stream: true })
  }
}
