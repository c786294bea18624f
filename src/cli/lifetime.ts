// From start to exit: signals, the life line of a child, and the order in which things end.

import { errorMessage } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { exitFailed, exitOk } from './exit-codes.ts'

/** What a mode hands back once it serves. */
export interface Running {
  /** Lines for people: what is listening where. */
  readonly banner: readonly string[]
  /** Facts for the parent of a child process, such as its address. */
  readonly facts?: Readonly<Record<string, string>>
  /** Resolves when the mode ends by itself (a fatal error); never for a healthy server. */
  readonly failed: Promise<unknown>
  /** Drains, ships and closes. */
  close(): Promise<void>
}

/** Exit code of a process that was told twice to stop, as shells report SIGINT. */
const exitInterrupted = 130

/**
 * Serves until a signal, the end of the life line or a fatal error; then closes in order.
 *
 * The first SIGTERM or SIGINT drains and ships; a second one exits at once, whatever is left.
 * @param lifeLine resolves when our parent is gone; null for a process started by a person.
 */
export async function serveUntilStopped(
  running: Running,
  lifeLine: Promise<void> | null,
  log: Logger,
): Promise<number> {
  let stop: (reason: string) => void = () => {}
  const stopped = new Promise<string>((resolve) => {
    stop = resolve
  })
  let signals = 0
  const onSignal = (signal: NodeJS.Signals) => {
    signals++
    if (signals > 1) process.exit(exitInterrupted)
    stop(signal)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  lifeLine?.then(() => stop('parent ended'))
  const reason = await Promise.race([stopped, running.failed.then((error) => ({ error }) as const)])
  try {
    if (typeof reason === 'string') {
      log.info('stopping', { reason })
      await running.close()
      log.info('stopped')
      return exitOk
    }
    log.error('failed', { error: errorMessage(reason.error) })
    await running.close()
    return exitFailed
  } finally {
    process.off('SIGTERM', onSignal)
    process.off('SIGINT', onSignal)
  }
}

/** A promise that never settles: the `failed` of a mode that has no way to fail by itself. */
export const never: Promise<never> = new Promise(() => {})
