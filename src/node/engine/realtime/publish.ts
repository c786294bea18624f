// What changes of records mean for realtime clients: who may see them, in which shape. PocketBase: apis/realtime.go.

import { Breath } from '../../../lib/breath.ts'
import type { Rule } from '../collections/collection.ts'
import { expandRecords } from '../expand/expand.ts'
import { clientFilterBytesMax } from '../filter/compile.ts'
import type { RuleRequest } from '../filter/resolver.ts'
import { toJson } from '../json/json-text.ts'
import { pickFields } from '../picker/picker.ts'
import { type RecordChains, triggerRecord } from '../records/events.ts'
import type { EngineRecord } from '../records/record.ts'
import { type Audience, audienceKey, audienceOf, followsPaths } from '../rules/audience.ts'
import type { RuleHost } from '../rules/rule-host.ts'
import { isFilterFailure, matchesFilter, passesRule } from '../rules/rules.ts'
import { showAllTo, showTo } from '../rules/visibility.ts'
import type { Delivery, RealtimeBroker } from './broker.ts'
import type { RealtimeClient, SubscriptionOptions } from './client.ts'

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
  const forget = (key: string) => {
    realtime.drop(prepared.get(key) ?? [])
    prepared.delete(key)
  }
  const bind = (action: Action, priority: number) => ({
    id: `__pf_realtime_${action}__`,
    priority,
    handle: async (event: { readonly record: EngineRecord; next(): unknown }) => {
      if (realtime.size > 0) {
        if (action === 'update' && event.record.collection.isAuth) followAuth(engine, event.record)
        const deliveries = deliveriesOf(engine, action, event.record)
        realtime.deliver(deliveries)
        await deliveries.catch(() => {}) // logged by the broker: the record is stored, whoever cannot be told of it
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
      const key = keyOf(event.record)
      if (realtime.size > 0) {
        // Outside the transaction: what a rule needs may be deleted in it already, as the parent of a cascade.
        const deliveries = engine.data.outside(() => deliveriesOf(engine, 'delete', event.record))
        try {
          const made = await deliveries
          forget(key)
          if (made.length > 0) prepared.set(key, made)
        } catch (error) {
          engine.log.warn('realtime messages not made', { error }) // no reason to keep the record
        }
      }
      try {
        await event.next()
      } catch (error) {
        forget(key)
        throw error
      }
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
      forget(keyOf(event.record))
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
  const breath = new Breath(engine.clock)
  try {
    for (const [base, rule] of topics) {
      for (const { topic, auth, options, clients } of groupsOf(engine, base, record, rule)) {
        const data = await dataFor(engine, { action, record, rule, auth, options })
        const delivery = data === null ? null : engine.realtime.prepare(clients, topic, data)
        if (delivery !== null) deliveries.push(delivery)
        const rest = breath.take()
        if (rest !== undefined) await rest
      }
    }
    return deliveries
  } catch (error) {
    engine.realtime.drop(deliveries)
    throw error
  }
}

/** Clients of one topic that see the same of a change. */
interface Group {
  readonly topic: string
  readonly options: SubscriptionOptions | undefined
  /** One of them, for all. */
  readonly auth: EngineRecord | null
  readonly clients: RealtimeClient[]
}

/** Clients that must see the same are judged once. */
function groupsOf(engine: RealtimeHost, base: string, record: EngineRecord, rule: Rule): Iterable<Group> {
  const groups = new Map<string, Group>()
  const topics = new Map<string, { readonly audience: Audience; guests: Group | null }>()
  for (const [client, subscribed] of engine.realtime.listeners(base)) {
    if (client.auth !== null) client.checkAuth(engine.collections.find(client.auth.collection.id))
    const { auth } = client
    for (const topic of subscribed) {
      let known = topics.get(topic)
      if (known === undefined) {
        const audience = audienceFor(engine, record, rule, client.subscriptions.get(topic))
        topics.set(topic, (known = { audience, guests: null }))
      }
      if (auth === null && known.guests !== null) {
        known.guests.clients.push(client) // guests are many, and all alike
        continue
      }
      const key = `${keyOfClient(known.audience, auth, record)} ${topic}`
      let group = groups.get(key)
      if (group === undefined) {
        group = { topic, options: client.subscriptions.get(topic), auth, clients: [] }
        groups.set(key, group)
      }
      group.clients.push(client)
      if (auth === null) known.guests = group
    }
  }
  return groups.values()
}

/** Whom the message of a change can tell apart: by rule and filter, by what is shown of the record, by hooks. */
function audienceFor(
  engine: RealtimeHost,
  record: EngineRecord,
  rule: Rule,
  options: SubscriptionOptions | undefined,
): Audience {
  // What is expanded is judged by rules of its own, and a hook may look at anything.
  if ((options?.query['expand'] ?? '') !== '' || !engine.chains.onRecordEnrich.isEmpty) return 'each'
  const manageRule = record.collection.isAuth ? (record.collection.auth.manageRule ?? '') : ''
  const filter = options?.query['filter'] ?? ''
  // What a client's filter reaches through a relation, the list rule over there must let this client see.
  if (followsPaths(filter)) return 'each'
  return audienceOf(rule ?? '', filter, manageRule)
}

/** Superusers pass every rule and see hidden fields; an auth record sees more of itself than others do. */
function keyOfClient(audience: Audience, auth: EngineRecord | null, record: EngineRecord): string {
  const kind = auth === null ? '' : auth.collection.isSuperusers ? 'superuser' : isSame(auth, record) ? 'self' : ''
  return `${kind} ${audienceKey(audience, auth)}`
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
    if (!onRecordEnrich.isEmpty) await triggerRecord(onRecordEnrich, { record, requestInfo: request }, () => {})
    const expand = query['expand'] ?? ''
    if (expand !== '')
      await expandRecords(engine, [record], expand, {
        request,
        onRecords: (related) => showAllTo(engine, related, request),
      })
    const fields = query['fields'] ?? ''
    const picked = fields === '' ? '' : pickFields(record, fields)
    return `{"record":${picked === '' ? toJson(record) : picked},"action":"${action}"}`
  } catch (error) {
    if (!isFilterFailure(error)) throw error
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
