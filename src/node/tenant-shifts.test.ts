// Goal: whoever dies while a tenant changes its worker, and whenever: it is never open twice, orders for it go on, and it can
// move again. Method: workers are small programs that ask, open and close as ours do, mark in a file that they have the
// tenant open, and stay where the test wants them; real kills at each step.

import { afterEach, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../test/support/wait.ts'
import type { NodeId, TenantId } from '../lib/brand.ts'
import { SimClock, systemClock } from '../lib/clock.ts'
import { silentLogger as log } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import type { Shift } from './busy-tenants.ts'
import type { WorkerConfig } from './config.ts'
import { NodeWorkers } from './node-workers.ts'
import type { KnownPlacement } from './placement-cache.ts'
import { TenantShifts } from './tenant-shifts.ts'
import { WorkerProcess } from './worker-process.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const tenantId = 'busytenant00000' as TenantId
const placement = { tenantId, nodeId: 'node-a' as NodeId, worker: 0, epoch: 1 } as KnownPlacement['placement']

const program = `
  const { appendFileSync, existsSync, readFileSync, unlinkSync, writeFileSync } = require('node:fs')
  const tenantId = '${tenantId}'
  const asked = new Map()
  let config = null
  let asks = 0
  let isOpen = false
  const say = (message) => process.stdout.write(JSON.stringify(message) + '\\n')
  const ask = (question) =>
    new Promise((resolve) => {
      asked.set(++asks, resolve)
      say({ type: 'ask', id: asks, question })
    })
  const pathOf = (name) => config.dir + '/' + name
  const at = async (step) => {
    writeFileSync(pathOf('at-' + config.index + '-' + step), '')
    while (existsSync(pathOf('stay-' + config.index + '-' + step))) await Bun.sleep(5)
  }
  const isAlive = (pid) => {
    try {
      return process.kill(pid, 0)
    } catch {
      return false
    }
  }
  const open = async () => {
    const { worker } = await ask({ type: 'placement.get', tenantId })
    if (isOpen || worker !== config.index) return
    await at('opening')
    const other = existsSync(pathOf('open')) ? Number(readFileSync(pathOf('open'), 'utf8')) : process.pid
    if (other !== process.pid && isAlive(other)) appendFileSync(pathOf('twice'), other + ' and ' + process.pid + '\\n')
    writeFileSync(pathOf('open'), String(process.pid))
    isOpen = true
  }
  const carryOut = async (order) => {
    if (order.type === 'tenant.open') return open()
    await at('ordered')
    if (isOpen) unlinkSync(pathOf('open'))
    isOpen = false
    await at('closed')
    const told = await ask({ type: 'tenant.yielded', tenantId })
    await at('answered')
    if (!told.yielded) await open()
    return told
  }
  const hear = (message) => {
    if (config === null) {
      config = message
      if (existsSync(pathOf('refuse-' + config.index))) process.exit(1)
      say({ type: 'ready', url: 'http://127.0.0.1:' + (1 + config.index) })
      void open()
    } else if (message.type === 'ping') say({ type: 'pong', id: message.id, load: null, atMs: 0 })
    else if (message.type === 'answer') asked.get(message.id)(message.outcome.value)
    else if (message.type === 'order')
      void carryOut(message.order).then((value) =>
        say({ type: 'reply', id: message.id, outcome: { ok: true, value: value ?? null } }),
      )
  }
  let rest = ''
  for await (const piece of Bun.stdin.stream()) {
    rest += new TextDecoder().decode(piece)
    for (let end = rest.indexOf('\\n'); end >= 0; end = rest.indexOf('\\n')) {
      const line = rest.slice(0, end)
      rest = rest.slice(end + 1)
      hear(JSON.parse(line))
    }
  }
  process.exit(0)`

class World {
  readonly dir = mkdtempSync(join(tmpdir(), 'pf-shifts-'))
  /** Of the looks at who is busy; workers are watched by the system's. */
  readonly clock = new SimClock()
  readonly workers: NodeWorkers
  readonly shifts: TenantShifts
  wish: Shift | null = null
  /** What the control plane does with a heartbeat. */
  hear: () => Promise<boolean> = async () => true

  constructor() {
    this.workers = new NodeWorkers({
      ordinary: 1,
      busyMax: 1,
      make: (index) =>
        new WorkerProcess({ index, isForBusy: index > 0, dir: this.dir } as WorkerConfig, {
          clock: systemClock,
          rng: systemRng,
          log,
          command: [process.execPath, '-e', program],
          onQuestion: async (question) =>
            question.type === 'tenant.yielded'
              ? this.shifts.yielded(question.tenantId, index)
              : { worker: this.workers.ownerOf(placement).index },
          onAddress: () => {},
          onOpened: () => {},
          leaseMsLeft: () => 60_000,
        }),
    })
    this.shifts = new TenantShifts({
      busy: {
        look: () => (this.wish === null ? [] : [this.wish]),
        shifted: () => {
          this.wish = null
        },
      },
      workers: this.workers,
      placements: { get: () => ({ placement }) as KnownPlacement },
      link: { leaseMsLeft: 60_000, isDraining: false, hurry: () => {}, heard: () => this.hear() },
      clock: this.clock,
      log,
    })
  }

  get home(): WorkerProcess {
    return this.workers.ordinary[0]!
  }

  /** Not before {@link start}. */
  get busy(): WorkerProcess {
    return this.workers.all[1]!
  }

  get owner(): WorkerProcess {
    return this.workers.ownerOf(placement)
  }

  async start(): Promise<void> {
    void this.home.start()
    this.workers.busyWorker()
    await until('both workers', () => this.home.url !== null && this.busy.url !== null)
    await this.settled()
  }

  /** Waits until its owner, and nobody else, has the tenant open. */
  async settled(): Promise<void> {
    await until('one owner', () => this.owner.url !== null && this.read('open') === String(this.owner.pid))
    expect(this.read('twice')).toBeNull()
  }

  /** Has the tenant move, as far as `isThere` tells. */
  async move(to: Shift['to'], isThere: () => boolean): Promise<void> {
    this.wish = { tenantId, to }
    await until(`a move to ${to}`, async () => {
      await this.clock.advance(1_000)
      return isThere()
    })
  }

  async bringTo(worker: WorkerProcess): Promise<void> {
    const to = worker.isForBusy ? 'busy' : 'ordinary'
    if (this.owner !== worker) await this.move(to, () => this.owner === worker && this.wish === null)
    await this.settled()
  }

  read(name: string): string | null {
    try {
      return readFileSync(join(this.dir, name), 'utf8')
    } catch {
      return null // nobody wrote it
    }
  }

  write(name: string): void {
    writeFileSync(join(this.dir, name), '')
  }

  remove(name: string): void {
    rmSync(join(this.dir, name), { force: true })
  }

  has(name: string): boolean {
    return existsSync(join(this.dir, name))
  }

  async end(): Promise<void> {
    for (const worker of this.workers.all) worker.kill()
    await this.shifts.close()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

let world: World
afterEach(() => world.end())

/** Where somebody dies. `heard`: the control plane hears of it, and has not answered yet. */
const steps = ['ordered', 'closed', 'heard', 'answered', 'opening'] as const

for (const to of ['busy', 'ordinary'] as const)
  test(`a worker is killed while a tenant moves to ${to}, at each step: one owner at any time`, async () => {
    world = new World()
    await world.start()
    for (const victimIs of ['old', 'new'] as const)
      for (const step of steps) {
        const [from, target] = to === 'busy' ? [world.home, world.busy] : [world.busy, world.home]
        await world.bringTo(from)
        const before = { ...world.shifts.counts }
        const place = `${(step === 'opening' ? target : from).index}-${step}`
        const answer = Promise.withResolvers<boolean>()
        let isAsked = false
        world.remove(`at-${place}`)
        if (step === 'heard')
          world.hear = () => {
            isAsked = true
            return answer.promise
          }
        else world.write(`stay-${place}`)
        await world.move(to, () => isAsked || world.has(`at-${place}`))
        const order = world.shifts.during(tenantId, false, async () => world.owner)
        const victim = victimIs === 'old' ? from : target
        const { pid } = victim
        process.kill(pid!, 'SIGKILL')
        await until('its end to be noticed', () => victim.pid !== pid)
        world.hear = async () => true
        answer.resolve(true)
        world.remove(`stay-${place}`)
        await order
        await until('the end of the shift', () => world.wish === null)
        await world.settled()
        const hasMoved = world.owner === target
        const told = { ...before, [hasMoved ? to : 'failed']: before[hasMoved ? to : 'failed'] + 1 }
        expect({ step, victimIs, ...world.shifts.counts }).toEqual({ step, victimIs, ...told })
        // A new worker may be back before the old one asks.
        if (victimIs === 'old' || step === 'answered' || step === 'opening')
          expect({ step, victimIs, hasMoved }).toEqual({
            step,
            victimIs,
            hasMoved: step === 'answered' || step === 'opening',
          })
      }
  })

test('a control plane that does not hear of it: the tenant stays, and is announced elsewhere no longer', async () => {
  world = new World()
  await world.start()
  const seen: unknown[] = []
  world.hear = async () => {
    const away = world.workers.awayTenants()
    seen.push({ away, owner: world.owner.index, other: await world.shifts.yielded(tenantId, 1) })
    return false
  }
  await world.move('busy', () => world.wish === null)
  const away = [{ tenantId, worker: 1, url: world.busy.url }]
  // Nobody else's word is taken for it.
  expect(seen).toEqual([{ away, owner: 0, other: { yielded: false } }])
  expect(world.workers.awayTenants()).toEqual([])
  expect(world.shifts.counts).toEqual({ busy: 0, ordinary: 0, failed: 1 })
  await world.settled()
  expect(world.owner).toBe(world.home)
})

test('a worker for busy tenants that does not start any more keeps none', async () => {
  world = new World()
  await world.start()
  await world.bringTo(world.busy)
  world.write('refuse-1')
  process.kill(world.busy.pid!, 'SIGKILL')
  await until('it to be gone', () => world.busy.url === null)
  await until('the tenant to be home', async () => {
    world.wish ??= { tenantId, to: 'ordinary' }
    await world.clock.advance(1_000)
    return world.owner === world.home
  })
  await world.settled()
})

test('a node that stops gives the shift up: the tenant stays where it is', async () => {
  world = new World()
  await world.start()
  world.write('stay-0-closed')
  await world.move('busy', () => world.has('at-0-closed'))
  await world.shifts.close()
  world.remove('stay-0-closed')
  await world.settled()
  expect(world.owner).toBe(world.home)
  expect(world.shifts.counts).toEqual({ busy: 0, ordinary: 0, failed: 1 })
})
