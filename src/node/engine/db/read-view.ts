// The connection that reads what is committed. All reads of one round of the event loop see the same commits: the locks,
// and the look at what is new, are most of what a look-up by key costs. A commit of this process ends the view at once,
// one of another process is seen a round later.

import { afterArrivals } from '../../../lib/clock.ts'
import { Connection, type ConnectionOptions, rowsOnce } from './connection.ts'

export class ReadView {
  readonly #options: ConnectionOptions
  #connection: Connection | null = null
  /** The connection holds the locks of a read. */
  #isOpen = false
  #isClosed = false

  constructor(options: ConnectionOptions) {
    this.#options = options
  }

  /** The connection, which the first caller opens: for what is no read of the content. Throws once {@link close} was called. */
  get connection(): Connection {
    if (this.#isClosed) throw new Error(`${this.#options.path} is closed`)
    return (this.#connection ??= new Connection(this.#options))
  }

  /** The connection for reads of this round. */
  begin(): Connection {
    const { connection } = this
    if (!this.#isOpen) {
      connection.statement('BEGIN').run()
      this.#isOpen = true
      afterArrivals(() => this.end())
    }
    return connection
  }

  /** Has the next read see what is committed by then. */
  end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    const { connection } = this
    if (connection.sqlite.inTransaction) connection.statement('COMMIT').run() // errors such as a full disk end it too
  }

  /** Another number after each commit of anybody else; ends the view. */
  contentVersion(): number {
    this.end()
    return rowsOnce<{ data_version: number }>(this.connection.sqlite, 'PRAGMA data_version')[0]!.data_version
  }

  close(): void {
    this.end()
    this.#isClosed = true
    this.#connection?.close()
  }
}
