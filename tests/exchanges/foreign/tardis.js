'use strict'
// A client of the simulator that is nothing but tardis-dev: its subscriptions, its decoding, its book. Only addresses
// are changed: every host becomes the first part of a path on the local port.
//   node tardis.js FOLDER PORT EXCHANGE SYMBOL   prints a line of JSON for each change: [bids, asks], the top of them.
const { createRequire } = require('module')

const TOP = 10
const [folder, port, exchange, symbol] = process.argv.slice(2)
const library = createRequire(`${folder}/node_modules/tardis-dev/package.json`)
const local = (scheme, url) => String(url).replace(/^[a-z]+:\/\//, `${scheme}://127.0.0.1:${port}/`)

const Socket = library('ws')
library.cache[library.resolve('ws')].exports = class extends Socket {
  constructor(url, options) {
    super(local('ws', url), options)
  }
}

// Binance has retired the path that this version asks for snapshots
const current = (url) => String(url).replace('api.binance.com/api/v1/', 'api.binance.com/api/v3/')
const get = async (url) => {
  const answer = await fetch(local('http', current(url)))
  return { body: await answer.text(), headers: Object.fromEntries(answer.headers) }
}
library('./dist/handy.js').httpClient.get = (url) => {
  const answer = get(url)
  answer.json = () => answer.then((it) => JSON.parse(it.body))
  return answer
}

const { streamNormalized, normalizeBookChanges, OrderBook } = library('./dist/index.js')
const top = (levels) => Array.from({ length: TOP }, () => levels.next().value).filter(Boolean).map((it) => [it.price, it.amount])

async function main() {
  const book = new OrderBook()
  const onError = (error) => console.error(error.stack)
  for await (const change of streamNormalized({ exchange, symbols: [symbol], onError }, normalizeBookChanges)) {
    book.update(change)
    console.log(JSON.stringify([top(book.bids()), top(book.asks())]))
  }
}

main()
