-- What hinders the relay, and when it last had to replace the stream of events.

alter table relays add column stream_replaced_at timestamptz;
alter table relays add column hindrance text;
alter table relays add column hindered_since timestamptz;

comment on column relays.stream_replaced_at is 'When the stream of events was last deleted and created anew because its messages were lost; at most once an hour.';
comment on column relays.hindrance is 'Why nothing can be published at present, e.g. that the store of the bus is full; null: nothing hinders.';
comment on column relays.hindered_since is 'Since when.';
