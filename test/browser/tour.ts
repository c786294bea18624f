// Goal: whatever a superuser does in PocketBase's dashboard works on a tenant of ours as on PocketBase itself.
// Method: a tour does the same steps in two browsers' pages, one on PocketBase and one on ours behind the same dashboard.
// What the pages then show is waited for; what the API took and refused, and what the console told, is compared.

import { expect } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Locator, Page } from 'playwright-core'
import PocketBase from 'pocketbase'
import { upsertSuperuser } from '../../src/node/engine/auth/superusers.ts'
import { openPage, startBrowser } from '../support/browser.ts'
import { serveDashboardOver } from '../support/dashboard-origin.ts'
import { type MailServer, startMailServer } from '../support/mail-server.ts'
import { startPocketBase } from '../support/pocketbase.ts'
import { serveStandalone } from '../support/standalone.ts'
import { until } from '../support/wait.ts'

export const superuser = { email: 'root@example.com', password: '1234567890' }

/** One side of a tour. */
export interface Visit {
  readonly page: Page
  readonly url: string
  /** Signed in as the superuser; what it does is not compared. */
  readonly api: PocketBase
  readonly mail: MailServer
  /** Does something and waits until its end shows; the answers until then belong to it. */
  step(name: string, act: () => Promise<unknown>): Promise<void>
}

export type Tour = (visit: Visit) => Promise<void>

/** What a tour met. Each is told once and without its step: how often the dashboard asks, and when, depends on speed. */
interface Seen {
  /** What was written and what was refused. */
  readonly answers: readonly string[]
  /** What the console told. */
  readonly troubles: readonly string[]
}

/** Runs a tour on both and compares; throws at the first step that does not get to its end. */
export async function compareTours(paths: { readonly chromium: string; readonly pocketbase: string }, tour: Tour) {
  const dir = mkdtempSync(join(tmpdir(), 'pf-dashboard-'))
  await using opened = new AsyncDisposableStack()
  opened.defer(() => rmSync(dir, { recursive: true, force: true }))
  const theirs = await startPocketBase(paths.pocketbase, { dir: join(dir, 'theirs'), superuser })
  opened.defer(() => theirs.stop())
  const ours = await serveStandalone(join(dir, 'ours'))
  opened.defer(() => ours.stop())
  await upsertSuperuser(ours.engine, superuser.email, superuser.password)
  const origin = serveDashboardOver(theirs.url, ours.url)
  opened.defer(() => origin.stop())
  const browser = await startBrowser(paths.chromium)
  opened.defer(() => browser.close())
  const [expected, got] = await Promise.all([
    visit(browser, theirs.url, 'PocketBase', tour),
    visit(browser, origin.url, 'ours', tour),
  ])
  expect(got).toEqual(expected)
}

async function visit(browser: Browser, url: string, name: string, tour: Tour): Promise<Seen> {
  const { page, context, observed } = await openPage(browser, url)
  const api = new PocketBase(url)
  api.autoCancellation(false)
  await api.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  const mail = await startMailServer()
  try {
    await tour({
      page,
      url,
      api,
      mail,
      async step(step, act) {
        try {
          await act()
          await until('the requests to end', () => observed.underWay === 0)
        } catch (error) {
          const shown = await page.locator('body').textContent()
          const facts = [...observed.answers, ...observed.troubles, shown?.slice(-1_500)].join('\n')
          throw new Error(`${name}, ${step}: ${String(error)}\n${facts}`, { cause: error })
        }
      },
    })
  } finally {
    await Promise.all([context.close(), mail.stop()])
  }
  const answers = observed.answers.map(withoutIds).filter((each) => !isRead(each))
  return { answers: [...new Set(answers)].sort(), troubles: [...new Set(observed.troubles)].sort() }
}

/** One that was answered, or that only told the dashboard that its session has ended: which there are depends on speed. */
function isRead(answer: string): boolean {
  return /^GET .* ([23]\d\d|401)$/.test(answer)
}

/** Ids, times and random ends of file names differ. */
function withoutIds(answer: string): string {
  return answer
    .replace(/\/[a-z0-9]{15}(?=[/ ])/g, '/ID')
    .replace(/_[a-z0-9]{10}\.(?=[a-z]+ )/g, '_RANDOM.')
    .replace(/\d{14}/g, 'TIME')
}

export async function logIn(page: Page): Promise<void> {
  await page.goto('/_/#/login')
  await page.getByLabel('Email').fill(superuser.email)
  await page.locator('input[type=password]').fill(superuser.password)
  await page.getByRole('button', { name: 'Login' }).click()
  await page.getByRole('button', { name: 'New collection' }).waitFor()
}

/** Loads a page of the dashboard afresh: one that is still loading would put its own address in place of the new one. */
export async function visitPage(page: Page, route: string): Promise<void> {
  await page.goto('about:blank')
  await page.goto(`/_/#/${route}`)
}

/** The topmost dialog. */
export function dialog(page: Page): Locator {
  return page.locator('.modal[data-modal-state=open]').last()
}

/** The question that is asked; it is one element for all of them, wherever in the page. */
export function question(page: Page): Locator {
  return page.locator('.modal.manual[data-modal-state=open]')
}

export async function yes(page: Page): Promise<void> {
  await question(page).locator('button.warning').click()
}

/** Waits until no dialog is to be seen. */
export async function noDialog(page: Page): Promise<void> {
  await page.locator('.modal').filter({ visible: true }).first().waitFor({ state: 'hidden' })
}

export function openMenu(page: Page): Locator {
  return page.locator('.dropdown:popover-open')
}

/** Waits for the message of that text. */
export async function toast(page: Page, text: string | RegExp): Promise<void> {
  await page.locator('.toast').filter({ hasText: text }).last().waitFor()
}
