// Commits that another owner overtook lie on the nodes that had them; this asks those that are alive.

import { type Orphan, type OrphanFile, orphanPieceBytesMax } from '../../ipc/messages/orphans.ts'
import type { NodeId } from '../../lib/brand.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Actor, AuditLog } from './audit.ts'
import type { NodeService } from './nodes.ts'
import type { Orders } from './orders.ts'

/** How long a node may take: it reads a folder, or half a megabyte. */
const orphanMs = 5_000

export interface NodeOrphan extends Orphan {
  readonly node: NodeId
}

export interface OrphanDeps {
  readonly nodes: Pick<NodeService, 'list' | 'stateOf'>
  readonly orders: Orders
  readonly audit: AuditLog
  readonly log: Logger
}

export class OrphanService {
  readonly #deps: OrphanDeps

  constructor(deps: OrphanDeps) {
    this.#deps = deps
  }

  /** Of all nodes that answer, newest first; those that do not are named. */
  async list(): Promise<{ readonly orphans: readonly NodeOrphan[]; readonly nodesMissing: readonly NodeId[] }> {
    const { nodes, orders, log } = this.#deps
    const orphans: NodeOrphan[] = []
    const nodesMissing: NodeId[] = []
    await Promise.all(
      nodes.list().map(async ({ row: { id } }) => {
        try {
          const found = await orders.give<'orphan.list'>(id, { type: 'orphan.list' }, orphanMs)
          for (const orphan of found.orphans) orphans.push({ ...orphan, node: id })
        } catch (error) {
          log.debug('node did not list its orphans', { node: id, error: errorMessage(error) })
          nodesMissing.push(id)
        }
      }),
    )
    return { orphans: orphans.sort((a, b) => b.takenAtMs - a.takenAtMs), nodesMissing }
  }

  /** A file of an orphan, piece by piece. Rejects as `Orders.give` does; RemoteError `orphan_not_found`. */
  async read(node: NodeId, name: string, file: OrphanFile, by: Actor): Promise<ReadableStream<Uint8Array>> {
    const { orders, audit } = this.#deps
    await audit.note(by, { action: 'orphan.read', target: name, details: { node, file } })
    const piece = async (from: number) => {
      const order = { type: 'orphan.read', name, file, from, to: from + orphanPieceBytesMax } as const
      return (await orders.give<'orphan.read'>(node, order, orphanMs)).bytes
    }
    let next: Uint8Array | null = await piece(0) // so that a missing one is an answer, not a broken stream
    let at = 0
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        const bytes = next ?? (await piece(at))
        next = null
        at += bytes.length
        if (bytes.length > 0) controller.enqueue(bytes)
        if (bytes.length < orphanPieceBytesMax) controller.close()
      },
    })
  }

  async remove(node: NodeId, name: string, by: Actor): Promise<void> {
    await this.#deps.audit.note(by, { action: 'orphan.delete', target: name, details: { node } })
    await this.#deps.orders.give<'orphan.remove'>(node, { type: 'orphan.remove', name }, orphanMs)
  }
}
