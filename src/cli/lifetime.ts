// From start to exit: signals, the life line of a child, and the order in which things end.

import { errorMessage } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { exitFailed, exitOk } from './exit-codes.ts'

/** What a mode hands back once it serves. */
export interface Running {
  /** Lines for people: what is listening where. */
  readonly banner: readonly string[]
  /** More of them, which the start does not wait for; never rejects. */
  readonly later?: Promise<readonly string[]>
  /** Facts for the parent of a child process, such as its address. */
  readonly facts?: Readonly<Record<string, string>>
  /** Resolves when the mode ends by itself (a fatal error); never for a healthy server. */
  readonly failed: Promise<unknown>
  /** Drains, ships and closes. */
  close(): Promise<void>
  /** Ends child processes that would outlive us, without draining; for the second signal. */
  abort?(): void
}

/** How a child process is led by the parent that started it. */
export interface Parent {
  /** Resolves with the reason once the parent asks for an orderly stop, or is gone. */
  readonly stop: Promise<string>
}

/** What a parent writes on a child's standard input to stop it. */
export const stopLine = 'stop'

/** Exit code of a process that was told twice to stop, as shells report SIGINT. */
const exitInterrupted = 130

/**
 * Serves until a signal, the end of the life line or a fatal error; then closes in order.
 *
 * The first SIGTERM or SIGINT drains and ships; a second one exits at once, whatever is left. A child ignores both:
 * Ctrl-C and service managers signal every process at once, but the order of stopping is the parent's.
 * @param parent null for a process started by a person.
 */
export async function serveUntilStopped(running: Running, parent: Parent | null, log: Logger): Promise<number> {
  let stop: (reason: string) => void = () => {}
  const stopped = new Promise<string>((resolve) => {
    stop = resolve
  })
  let signals = 0
  const onSignal = (signal: NodeJS.Signals) => {
    if (parent !== null) return
    signals++
    if (signals > 1) {
      running.abort?.()
      process.exit(exitInterrupted)
    }
    stop(signal)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  parent?.stop.then(stop)
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
