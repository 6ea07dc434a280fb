// Calls at a rate that does not care how they fare; every status and every score is checked.
import grpc from 'k6/net/grpc';
import http from 'k6/http';
import { check } from 'k6';
import { SharedArray } from 'k6/data';
import exec from 'k6/execution';

const TOLERANCE = 1e-4;
const METHOD = 'predictmesh.gateway.v1.PredictionService/Predict';
const asked = new SharedArray('asked', () => JSON.parse(open(__ENV.ASKED)));
const client = new grpc.Client();
client.loadProtoset(__ENV.PROTOSET);
let connected = false;

export const options = {
  scenarios: {
    open: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE),
      timeUnit: '1s',
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: 20,
      maxVUs: 200,
    },
  },
  summaryTrendStats: ['med', 'p(99)'],
  thresholds: { checks: ['rate==1'] },
};

function predict(request) {
  if (!connected) {
    client.connect(__ENV.TARGET, { plaintext: true });
    connected = true;
  }
  const answer = client.invoke(METHOD, request, { timeout: '5s' });
  return [answer.status === grpc.StatusOK, answer.message && answer.message.outputs[0].floats[0]];
}

function post(request) {
  const headers = { 'content-type': 'application/json' };
  const answer = http.post(`http://${__ENV.TARGET}/predict`, JSON.stringify(request), { headers, timeout: '5s' });
  return [answer.status === 200, answer.status === 200 && answer.json('score')];
}

export default function () {
  const one = asked[exec.scenario.iterationInTest % asked.length];
  const [good, score] = __ENV.SPEAKS === 'http' ? post(one.json) : predict(one.request);
  check(score, { status: () => good, score: (found) => Math.abs(found - one.score) < TOLERANCE });
}
