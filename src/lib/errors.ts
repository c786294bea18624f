// The world failing (disk, network, object store, a bad file) throws a subclass of AppError. Callers match on `code`.

/** What crosses IPC instead of an Error object. */
export interface WireError {
  readonly code: string
  readonly message: string
  readonly data?: unknown
}

export abstract class AppError extends Error {
  /** Stable, snake_case; part of the contract, unlike the message. */
  abstract readonly code: string

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
  }
}

/** An operation was given up at its deadline or by its caller's abort signal. */
export class TimeoutError extends AppError {
  readonly code = 'timeout'
}

/** A named limit was reached; trying again later may work. */
export class OverloadedError extends AppError {
  readonly code = 'overloaded'
}

/** Bad configuration: a flag, an environment variable or a file. The message is one line for a person. */
export class ConfigError extends AppError {
  readonly code = 'config'
}

/** The `code` of an AppError or of a system error (`ENOENT`…), else undefined. */
export function errorCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return undefined
}

/** One line that says what happened, with the chain of causes; safe for any thrown value. */
export function errorMessage(error: unknown): string {
  const parts: string[] = []
  let current: unknown = error
  for (let depth = 0; current !== undefined && current !== null && depth < 5; depth++) {
    parts.push(current instanceof Error ? current.message || current.name : String(current))
    current = current instanceof Error ? current.cause : undefined
  }
  return parts.join(': ')
}
