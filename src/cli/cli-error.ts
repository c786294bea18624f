/** A failure that is told to a person in one line, with the exit code that scripts see. */
export class CliError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}
