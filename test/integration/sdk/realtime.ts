// Subscriptions in all their forms.

import { afterEach, beforeAll, describe, expect, test } from 'bun:test'
import type PocketBase from 'pocketbase'
import type { RecordSubscription } from 'pocketbase'
import { until } from '../../support/wait.ts'
import { newClient, refusal, type WorldOf } from './world.ts'

type Event = RecordSubscription & { readonly expand?: unknown }

export function realtimeCalls(world: WorldOf): void {
  describe('realtime', () => {
    const clients: PocketBase[] = []
    const connect = () => {
      const client = newClient(world().url)
      clients.push(client)
      return client
    }
    let ownerId = ''

    beforeAll(async () => {
      const { root } = world()
      const open = { listRule: '', viewRule: '', createRule: '', updateRule: '', deleteRule: '' }
      const owners = await root.collections.create({
        ...open,
        name: 'sdk_owners',
        type: 'base',
        fields: [{ name: 'name', type: 'text' }],
      })
      await root.collections.create({
        ...open,
        name: 'sdk_events',
        type: 'base',
        listRule: 'secret = "" || @request.headers.x_secret = secret',
        fields: [
          { name: 'title', type: 'text' },
          { name: 'level', type: 'number' },
          { name: 'secret', type: 'text' },
          { name: 'owner', type: 'relation', collectionId: owners.id, maxSelect: 1 },
        ],
      })
      ownerId = (await root.collection('sdk_owners').create({ name: 'Grace' })).id
    })

    afterEach(async () => {
      for (const client of clients.splice(0)) await client.realtime.unsubscribe()
    })

    const titles = (events: readonly Event[]) => events.map((event) => `${event.action} ${event.record['title']}`)

    test('a collection and one record: create, update, delete', async () => {
      const client = connect()
      const { root } = world()
      const all: Event[] = []
      await client.collection('sdk_events').subscribe('*', (event) => void all.push(event))
      expect(client.realtime.isConnected).toBe(true)
      expect(client.realtime.clientId).not.toBe('')
      const made = await root.collection('sdk_events').create({ title: 'one' })
      await until('the create', () => all.length === 1)
      const single: Event[] = []
      await client.collection('sdk_events').subscribe(made.id, (event) => void single.push(event))
      await root.collection('sdk_events').create({ title: 'other' })
      await root.collection('sdk_events').update(made.id, { title: 'two' })
      await root.collection('sdk_events').delete(made.id)
      await until('all events', () => all.length === 4 && single.length === 2)
      expect(titles(all)).toEqual(['create one', 'create other', 'update two', 'delete two'])
      expect(titles(single)).toEqual(['update two', 'delete two'])
      expect(all[2]!.record).toMatchObject({ id: made.id, collectionName: 'sdk_events' })
    })

    test('options: filter, expand, fields and headers', async () => {
      const client = connect()
      const { root } = world()
      const filtered: Event[] = []
      const shaped: Event[] = []
      const secret: Event[] = []
      const events = client.collection('sdk_events')
      await events.subscribe('*', (event) => void filtered.push(event), { filter: 'level > 5' })
      await events.subscribe('*', (event) => void shaped.push(event), {
        expand: 'owner',
        fields: 'title,expand.owner.name',
      })
      await events.subscribe('*', (event) => void secret.push(event), { headers: { 'x-secret': 'sesame' } })
      await root.collection('sdk_events').create({ title: 'low', level: 1, owner: ownerId })
      await root.collection('sdk_events').create({ title: 'hidden', level: 9, secret: 'sesame' })
      await root.collection('sdk_events').create({ title: 'high', level: 9 })
      await until('the last event of each', () =>
        [filtered, shaped, secret].every((list) => list.some((event) => event.record['title'] === 'high')),
      )
      expect(titles(filtered)).toEqual(['create high'])
      expect(shaped.map(({ record }) => record as unknown)).toEqual([
        { title: 'low', expand: { owner: { name: 'Grace' } } },
        { title: 'high', expand: {} },
      ])
      expect(titles(secret)).toEqual(['create low', 'create hidden', 'create high'])
    })

    test('PB_CONNECT, several listeners, and every way to end them', async () => {
      const client = connect()
      const { root } = world()
      let connects = 0
      await client.realtime.subscribe('PB_CONNECT', () => void connects++)
      await until('the connect event', () => connects === 1)
      const seen = { first: 0, second: 0, record: 0, owners: 0 }
      const endFirst = await client.collection('sdk_events').subscribe('*', () => void seen.first++)
      await client.collection('sdk_events').subscribe('*', () => void seen.second++)
      const made = await root.collection('sdk_events').create({ title: 'x' })
      await client.collection('sdk_events').subscribe(made.id, () => void seen.record++)
      await client.collection('sdk_owners').subscribe('*', () => void seen.owners++)
      const touch = async (title: string) => {
        const before = seen.owners
        await root.collection('sdk_events').update(made.id, { title })
        // Events of one client come in order of the writes: once this one is there, the other has been as well.
        await root.collection('sdk_owners').update(ownerId, { name: title })
        await until('the event of the other collection', () => seen.owners === before + 1)
      }
      await until('the create', () => seen.first === 1 && seen.second === 1)
      await endFirst()
      await touch('a')
      expect(seen).toEqual({ first: 1, second: 2, record: 1, owners: 1 })
      await client.collection('sdk_events').unsubscribe(made.id)
      await touch('b')
      expect(seen).toEqual({ first: 1, second: 3, record: 1, owners: 2 })
      await client.collection('sdk_events').unsubscribe()
      await touch('c')
      expect(seen).toEqual({ first: 1, second: 3, record: 1, owners: 3 })
      const listener = () => {}
      await client.realtime.subscribe('sdk_events/*', listener)
      await client.realtime.unsubscribeByTopicAndListener('sdk_events/*', listener)
      await client.realtime.unsubscribeByPrefix('sdk_events/')
      await client.realtime.unsubscribe('sdk_owners/*')
      await client.realtime.unsubscribe()
      expect(client.realtime.isConnected).toBe(false)
    })

    test('a client that signs in is a new audience; others cannot use its connection', async () => {
      const { root, url } = world()
      const client = connect()
      const events: Event[] = []
      await root.collections.update('sdk_owners', { listRule: null, viewRule: null })
      try {
        await client.collection('sdk_owners').subscribe('*', (event) => void events.push(event))
        const all: Event[] = []
        await client.collection('sdk_events').subscribe('*', (event) => void all.push(event))
        await root.collection('sdk_owners').update(ownerId, { name: 'unseen' })
        await root.collection('sdk_events').create({ title: 'seen' })
        await until('what guests see', () => all.length === 1)
        expect(events).toEqual([])
        client.authStore.save(root.authStore.token, root.authStore.record)
        // The next change of subscriptions tells the server who asks.
        await client.collection('sdk_events').subscribe('any', () => {})
        await root.collection('sdk_owners').update(ownerId, { name: 'now seen' })
        await until('what a superuser sees', () => events.length === 1)
        const body = { clientId: client.realtime.clientId, subscriptions: ['sdk_events/*'] }
        const error = await refusal(newClient(url).send('/api/realtime', { method: 'POST', body }))
        expect(error.status).toBe(403)
      } finally {
        await root.collections.update('sdk_owners', { listRule: '', viewRule: '' })
      }
    })

    test('onDisconnect says what was subscribed to', async () => {
      const client = connect()
      await client.collection('sdk_events').subscribe('*', () => {})
      const active: string[][] = []
      client.realtime.onDisconnect = (topics) => void active.push(topics)
      await client.realtime.unsubscribe()
      expect(active).toEqual([[]])
    })
  })
}
