// What changes of records mean for realtime clients: who may see them, in which shape. PocketBase: apis/realtime.go.

import type { Rule } from '../collections/collection.ts'
import { expandRecords } from '../expand/expand.ts'
import { clientFilterBytesMax } from '../filter/compile.ts'
import { FilterError, type RuleRequest } from '../filter/resolver.ts'
import { toJson } from '../json/json-text.ts'
import { pickFields } from '../picker/picker.ts'
import { type RecordChains, triggerRecord } from '../records/events.ts'
import type { EngineRecord } from '../records/record.ts'
import type { RuleHost } from '../rules/rule-host.ts'
import { matchesFilter, passesRule } from '../rules/rules.ts'
import { showTo } from '../rules/visibility.ts'
import type { Delivery, RealtimeBroker } from './broker.ts'
import { encodeMessage, type RealtimeClient, type SubscriptionOptions } from './client.ts'

/** The part of an engine whose changes are told. */
export interface RealtimeHost extends RuleHost {
  readonly chains: RecordChains
  readonly realtime: RealtimeBroker
}

type Action = 'create' | 'update' | 'delete'

/** Binds realtime to the record chains of an engine. */
export function bindRealtime(engine: RealtimeHost): void {
  const { chains, realtime } = engine
  // Deletes are judged while the record is there and told when it has gone.
  const prepared = new Map<string, Delivery[]>()
  const keyOf = (record: EngineRecord) => `${record.collection.id}/${record.id}`
  const bind = (action: Action, priority: number) => ({
    id: `__pf_realtime_${action}__`,
    priority,
    handle: async (event: { readonly record: EngineRecord; next(): unknown }) => {
      if (realtime.size > 0) {
        if (action === 'update' && event.record.collection.isAuth) followAuth(engine, event.record)
        const deliveries = deliveriesOf(engine, action, event.record)
        realtime.deliver(deliveries)
        await deliveries
      }
      await event.next()
    },
  })
  chains.onRecordAfterCreateSuccess.bind(bind('create', -99))
  chains.onRecordAfterUpdateSuccess.bind(bind('update', -99))
  chains.onRecordDelete.bind({
    id: '__pf_realtime_delete__',
    priority: 99,
    handle: async (event) => {
      if (realtime.size > 0) {
        // Outside the transaction: what a rule needs may be deleted in it already, as the parent of a cascade.
        const deliveries = await engine.data.outside(() => deliveriesOf(engine, 'delete', event.record))
        if (deliveries.length > 0) prepared.set(keyOf(event.record), deliveries)
      }
      await event.next()
    },
  })
  chains.onRecordAfterDeleteSuccess.bind({
    id: '__pf_realtime_deleted__',
    priority: -99,
    handle: async (event) => {
      const key = keyOf(event.record)
      realtime.deliver(prepared.get(key) ?? [])
      prepared.delete(key)
      if (event.record.collection.isAuth)
        for (const client of realtime.clients()) if (isSame(client.auth, event.record)) client.auth = null
      await event.next()
    },
  })
  chains.onRecordAfterDeleteError.bind({
    id: '__pf_realtime_kept__',
    priority: -99,
    handle: async (event) => {
      prepared.delete(keyOf(event.record))
      await event.next()
    },
  })
}

function isSame(a: EngineRecord | null, b: EngineRecord | null): boolean {
  return a !== null && b !== null && a.id === b.id && a.collection.id === b.collection.id
}

/** Clients speak for the record as it is now; a new token key makes them guests. */
function followAuth(engine: RealtimeHost, record: EngineRecord): void {
  for (const client of engine.realtime.clients())
    if (isSame(client.auth, record))
      client.auth = client.auth!.text('tokenKey') === record.text('tokenKey') ? record.clone() : null
}

async function deliveriesOf(engine: RealtimeHost, action: Action, record: EngineRecord): Promise<Delivery[]> {
  const { collection } = record
  const { listRule, viewRule } = collection.data
  const topics: (readonly [string, Rule])[] = []
  for (const name of [collection.name, collection.id])
    topics.push([`${name}/${record.id}`, viewRule], [`${name}/*`, listRule], [name, listRule])
  const deliveries: Delivery[] = []
  for (const [base, rule] of topics) {
    // Clients that must see the same are judged once.
    const groups = new Map<string, { topic: string; clients: RealtimeClient[] }>()
    for (const [client, subscribed] of engine.realtime.listeners(base)) {
      if (client.auth !== null) client.checkAuth(engine.collections.find(client.auth.collection.id))
      const { auth } = client
      const who = auth === null ? '' : `${auth.collection.id}/${auth.id}`
      for (const topic of subscribed) {
        const group = groups.get(`${who} ${topic}`)
        if (group === undefined) groups.set(`${who} ${topic}`, { topic, clients: [client] })
        else group.clients.push(client)
      }
    }
    for (const { topic, clients } of groups.values()) {
      const first = clients[0]!
      const data = await dataFor(engine, {
        action,
        record,
        rule,
        auth: first.auth,
        options: first.subscriptions.get(topic),
      })
      if (data !== null) deliveries.push({ clients, message: encodeMessage(topic, data) })
    }
  }
  return deliveries
}

/** The JSON of one message, or null where the client may not have it. */
async function dataFor(
  engine: RealtimeHost,
  given: {
    readonly action: Action
    readonly record: EngineRecord
    readonly rule: Rule
    readonly auth: EngineRecord | null
    readonly options: SubscriptionOptions | undefined
  },
): Promise<string | null> {
  const { action, auth, rule } = given
  const { query = {}, headers = {} } = given.options ?? {}
  const request: RuleRequest = { context: 'realtime', method: 'GET', query, headers, auth, body: {} }
  try {
    if (!(await maySee(engine, given.record, rule, request))) return null
    const record = given.record.clone()
    record.expand = null
    record.visibility = null
    record.ignoreEmailVisibility = false
    await showTo(engine, record, request)
    const { onRecordEnrich } = engine.chains
    if (!onRecordEnrich.isEmpty) await triggerRecord(onRecordEnrich, { record }, () => {})
    const expand = query['expand'] ?? ''
    if (expand !== '')
      await expandRecords(engine, [record], expand, {
        request,
        onRecord: (related) => showTo(engine, related, request),
      })
    const fields = query['fields'] ?? ''
    const picked = fields === '' ? '' : pickFields(record, fields)
    return `{"record":${picked === '' ? toJson(record) : picked},"action":"${action}"}`
  } catch (error) {
    if (!(error instanceof FilterError)) throw error
    engine.log.debug('realtime message withheld', { collection: given.record.collection.name, error })
    return null
  }
}

async function maySee(engine: RealtimeHost, record: EngineRecord, rule: Rule, request: RuleRequest): Promise<boolean> {
  if (!(await passesRule(engine, record, rule, request))) return false
  const filter = request.query['filter'] ?? ''
  if (filter === '') return true
  const isSuperuser = request.auth?.collection.isSuperusers ?? false
  if (!isSuperuser && /@collection\.|@request\./.test(filter + (request.query['sort'] ?? ''))) return false
  if (filter.length > clientFilterBytesMax) return false
  return await matchesFilter(engine, record, filter, request)
}
