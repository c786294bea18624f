// Goal: a control plane that is killed after the owner of a tenant let go, and before the next placement is decided, finishes the
// move by itself once it runs again; so it does when the standbys of the owner were to change.
// Method: a real member as a process, whose nodes the test plays; the node kills it while it answers that it let go.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { api, playedFleet } from '../support/played-fleet.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const { folder, playNode } = playedFleet()
const entry = join(import.meta.dir, 'control-plane-entry.ts')

interface Member {
  readonly httpUrl: string
  readonly ipcAddress: string
  readonly firstAdminToken: string | null
}

async function startMember(dir: string): Promise<Member & { kill(): void; readonly exited: Promise<number> }> {
  const child = Bun.spawn([process.execPath, entry, dir], { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' })
  const { value } = await child.stdout.getReader().read()
  const told = JSON.parse(new TextDecoder().decode(value)) as Member
  return { ...told, kill: () => child.kill('SIGKILL'), exited: child.exited }
}

test('a move', async () => {
  const dir = folder()
  const first = await startMember(dir)
  const call = api(first, first.firstAdminToken)
  const one = await playNode(first, 'node-1', { onRelease: () => first.kill() })
  const { id } = (await call('POST', '/api/cp/tenants', { id: 'acme' })).body
  await playNode(first, 'node-2')
  const migrate = call('POST', `/api/cp/tenants/${id}/migrate`, { node: 'node-2' })
  const [moved] = await Promise.allSettled([migrate, first.exited])
  expect(moved.status).toBe('rejected')

  const second = await startMember(dir)
  try {
    const again = api(second, first.firstAdminToken)
    const placement = await until('the move', async () => {
      const { placement } = (await again('GET', `/api/cp/tenants/${id}`)).body
      return placement.nodeId === 'node-2' && placement
    })
    expect(placement.epoch).toBe(2)
    const release = { type: 'tenant.release', epoch: 1 }
    expect(one.orders.filter(({ type }) => type !== 'tenant.create')).toMatchObject([release, release])
    const { items } = (await again('GET', '/api/cluster/audit?action=tenant.migrate')).body
    expect(items).toMatchObject([{ actor: expect.stringContaining('root@fleet.test') }])
  } finally {
    second.kill()
    await second.exited
  }
})

test('other standbys', async () => {
  const dir = folder()
  const first = await startMember(dir)
  const call = api(first, first.firstAdminToken)
  await playNode(first, 'node-1', { onRelease: () => first.kill() })
  const { id } = (await call('POST', '/api/cp/tenants', { id: 'acme', ackMode: 'quorum' })).body
  await playNode(first, 'node-2') // it may stand by
  await first.exited

  const second = await startMember(dir)
  try {
    const again = api(second, first.firstAdminToken)
    const placement = await until('a standby', async () => {
      const { placement } = (await again('GET', `/api/cp/tenants/${id}`)).body
      return placement.standbys.length > 0 && placement
    })
    expect(placement).toMatchObject({ nodeId: 'node-1', epoch: 2, standbys: ['node-2'] })
  } finally {
    second.kill()
    await second.exited
  }
})
