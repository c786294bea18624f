// Signing in without mails: passwords, refresh, impersonation, methods, what the client keeps.

import { beforeAll, describe, expect, test } from 'bun:test'
import PocketBase, { AsyncAuthStore, BaseAuthStore, getTokenPayload, isTokenExpired, LocalAuthStore } from 'pocketbase'
import { until } from '../../support/wait.ts'
import { newClient, password, refusal, refusedStatus, superuser, type WorldOf, withWarnings } from './world.ts'

export function authCalls(world: WorldOf): void {
  describe('auth', () => {
    const email = 'sdk-user@example.com'
    let userId = ''

    beforeAll(async () => {
      const users = newClient(world().url).collection('users')
      userId = (await users.create({ email, password, passwordConfirm: password, name: 'Sdk' })).id
    })

    test('listAuthMethods', async () => {
      const methods = await newClient(world().url).collection('users').listAuthMethods()
      expect(methods.password).toEqual({ enabled: true, identityFields: ['email'] })
      expect(Object.keys(methods).sort()).toEqual(['mfa', 'oauth2', 'otp', 'password'])
    })

    test('authWithPassword, with options; the store follows', async () => {
      const client = newClient(world().url)
      const users = client.collection('users')
      const signedIn = await users.authWithPassword(email, password, { fields: 'token,record.id,record.email' })
      expect(signedIn.record as unknown).toEqual({ id: userId, email })
      expect(client.authStore.token).toBe(signedIn.token)
      expect(getTokenPayload(signedIn.token)).toMatchObject({ id: userId, type: 'auth', refreshable: true })
      expect(isTokenExpired(signedIn.token)).toBe(false)
      const refreshed = await users.authRefresh({ expand: 'nothing' })
      expect(refreshed.record).toMatchObject({ id: userId, name: 'Sdk', collectionName: 'users' })
      const { warnings } = await withWarnings(() => users.authRefresh({}, { fields: '*' }))
      expect(warnings.join()).toContain('deprecated')
      expect((await refusal(users.authWithPassword(email, 'wrong-password'))).response).toMatchObject({
        status: 400,
        message: 'Failed to authenticate.',
      })
      // An own record that is changed is changed in the store, one that is deleted is gone from it.
      await users.update(userId, { name: 'Renamed' })
      expect(client.authStore.record?.['name']).toBe('Renamed')
      const other = newClient(world().url)
      const made = await other
        .collection('users')
        .create({ email: `gone-${email}`, password, passwordConfirm: password })
      await other.collection('users').authWithPassword(`gone-${email}`, password)
      await other.collection('users').delete(made.id)
      expect(other.authStore.isValid).toBe(false)
    })

    test('superusers, and what they renew by themselves', async () => {
      const client = newClient(world().url)
      expect(client.admins.isSuperusers).toBe(true)
      // A threshold beyond the life of the token makes each request renew it first.
      await client.admins.authWithPassword(superuser.email, superuser.password, { autoRefreshThreshold: 10 ** 9 })
      expect(client.authStore.isSuperuser).toBe(true)
      const refreshes: string[] = []
      const { beforeSend } = client
      client.beforeSend = async (url, options) => {
        refreshes.push(url)
        return (await beforeSend?.(url, options)) ?? { url, options }
      }
      await client.collections.getList(1, 1)
      expect(refreshes.some((url) => url.endsWith('/auth-refresh'))).toBe(true)
    })

    test('impersonate', async () => {
      const { root, url } = world()
      const impersonated = await root.collection('users').impersonate(userId, 60, { fields: 'token,record.id' })
      expect(impersonated.authStore.record as unknown).toEqual({ id: userId })
      const payload = getTokenPayload(impersonated.authStore.token)
      expect(payload).toMatchObject({ refreshable: false, id: userId })
      expect(payload['exp'] - Date.now() / 1000).toBeLessThan(61)
      expect((await impersonated.collection('users').getOne(userId)).id).toBe(userId)
      expect(await refusedStatus(newClient(url).collection('users').impersonate(userId, 60))).toBe(401)
    })

    test('LocalAuthStore: changes, cookies', async () => {
      const client = newClient(world().url)
      expect(client.authStore).toBeInstanceOf(LocalAuthStore)
      const changes: string[] = []
      const stop = client.authStore.onChange((token) => void changes.push(token), true)
      await client.collection('users').authWithPassword(email, password)
      const { token, record } = client.authStore
      expect(changes).toEqual(['', token])
      stop()
      expect(client.authStore.model).toEqual(record)
      const cookie = client.authStore.exportToCookie({ httpOnly: false }, 'session')
      client.authStore.clear()
      expect(client.authStore.isValid).toBe(false)
      client.authStore.loadFromCookie(cookie.replace(/;.*$/, ''), 'session')
      expect(client.authStore.record?.id).toBe(userId)
      expect((await client.collection('users').authRefresh()).record.id).toBe(userId)
      expect(changes).toHaveLength(2)
      const own = new LocalAuthStore('another')
      own.save(token, record)
      expect([own.token, own.record?.id, own.model?.id]).toEqual([token, userId, userId])
      own.clear()
      expect(own.token).toBe('')
    })

    test('BaseAuthStore and AsyncAuthStore', async () => {
      const { url } = world()
      const base = new BaseAuthStore()
      const client = new PocketBase(url, base, 'de-AT')
      await client.collection('users').authWithPassword(email, password)
      expect([base.isValid, base.isSuperuser, base.record?.id, base.model?.id]).toEqual([true, false, userId, userId])
      const { value } = await withWarnings(() => [base.isAdmin, base.isAuthRecord])
      expect(value).toEqual([false, true])
      const { token, record } = base
      const cookie = base.exportToCookie()
      const seen: string[] = []
      const stop = base.onChange((next) => void seen.push(next))
      base.clear()
      base.save(token, record)
      stop()
      base.loadFromCookie(cookie)
      expect(seen).toEqual(['', token])
      expect(base.token).toBe(token)

      const saved: string[] = []
      const store = new AsyncAuthStore({
        save: async (text) => void saved.push(text),
        clear: async () => void saved.push('cleared'),
        initial: Promise.resolve(JSON.stringify({ token, record })),
      })
      await until('the first state', () => store.token === token)
      const later = new PocketBase(url, store)
      await later.collection('users').authRefresh()
      store.save(store.token, store.record)
      store.clear()
      await until('the last save', () => saved.at(-1) === 'cleared')
      expect(JSON.parse(saved[0]!)).toMatchObject({ token, record: { id: userId } })
    })
  })
}
