// A headless Chromium and what goes wrong in its pages.

import { type Browser, type BrowserContext, chromium, type Page, type Request } from 'playwright-core'

/** For a busy machine; only failures wait so long, ms. */
export const patienceMs = 30_000

/** @param executable from `testWithPeers(['chromium'], …)`. The sandbox is off: tests run as root and open their own pages only. */
export function startBrowser(executable: string): Promise<Browser> {
  return chromium.launch({ executablePath: executable, args: ['--no-sandbox'], timeout: patienceMs })
}

/** What pages did, in the order of the answers. */
export interface Observed {
  /** `METHOD path status` of each answer of an API. */
  readonly answers: string[]
  /** Errors on the console, uncaught errors, and requests that got no answer. */
  readonly troubles: string[]
  /** Requests of the API that have no answer yet, streams of events apart. */
  readonly underWay: number
}

export interface WatchedPage {
  readonly page: Page
  readonly context: BrowserContext
  readonly observed: Observed
}

/** Requests that pages end themselves, such as a stream, have no answer and that is no trouble. */
export async function openPage(browser: Browser, baseURL: string): Promise<WatchedPage> {
  const context = await browser.newContext({
    baseURL,
    viewport: { width: 1_400, height: 950 },
    permissions: ['clipboard-read', 'clipboard-write'],
  })
  context.setDefaultTimeout(patienceMs)
  const page = await context.newPage()
  const underWay = new Set<Request>()
  const observed: Observed = {
    answers: [],
    troubles: [],
    get underWay() {
      return underWay.size
    },
  }
  page.on('request', (request) => {
    if (new URL(request.url()).pathname.startsWith('/api/') && request.resourceType() !== 'eventsource')
      underWay.add(request)
  })
  page.on('requestfinished', (request) => underWay.delete(request))
  page.on('response', (response) => {
    const { pathname } = new URL(response.url())
    const { status, request } = { status: response.status(), request: response.request() }
    if (pathname.startsWith('/api/')) observed.answers.push(`${request.method()} ${pathname} ${status}`)
    else if (status >= 400) observed.troubles.push(`${request.method()} ${pathname} ${status}`)
  })
  page.on('console', (message) => {
    // Answers of 4xx are told there too; they are seen above.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      observed.troubles.push(`console: ${message.text()}`)
  })
  page.on('pageerror', (error) => observed.troubles.push(`uncaught: ${error.message}`))
  page.on('requestfailed', (request) => {
    underWay.delete(request)
    const reason = request.failure()?.errorText ?? ''
    if (reason !== 'net::ERR_ABORTED')
      observed.troubles.push(`${request.method()} ${new URL(request.url()).pathname}: ${reason}`)
  })
  return { page, context, observed }
}
