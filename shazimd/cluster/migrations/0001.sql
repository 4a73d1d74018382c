-- The tables of a cluster of shazimd hosts. Applied by `shazimctl cluster init`, in one transaction with its number.
-- Each host has rows of its own, and row-level security lets no other host's role write them. The role that applies this
-- owns the tables, and is the only one that row-level security does not bind.

create schema shazim;

create table shazim.migrations (
    number  integer primary key,
    applied timestamptz not null default now()
);

-- The number of the last push. Its row stays locked until the push is committed: numbers are committed in their order, and
-- a reader that has seen a number has seen all before. A sequence does not promise that.
create table shazim.clock (
    n bigint not null
);
insert into shazim.clock values (0);

create table shazim.hosts (
    name     text primary key check (name ~ '^[a-z0-9][a-z0-9.-]{0,62}$'),
    owner    name not null default current_user,
    position text,                                -- in the feed of the host's daemon; all before is here
    reading  bigint not null default 0,           -- number of the host's last reading of all its files
    n        bigint not null default 0,           -- number of its last push
    model    text,
    version  text,
    seen     timestamptz not null default now()
);

create table shazim.contents (
    host            text not null references shazim.hosts on delete cascade,
    digest          bytea not null check (octet_length(digest) = 32),
    made            text not null,
    width           bigint not null,
    height          bigint not null,
    format          text not null,
    ah              text,
    dh              text,
    pixels          bytea,
    low_information boolean not null,
    turned          bytea not null,
    features        bytea not null,
    model           text,
    vector          bytea,
    primary key (host, digest)
);
alter table shazim.contents alter column features set storage external, alter column vector set storage external;

create table shazim.files (
    host       text not null,
    key        bytea generated always as (sha256(path)) stored,     -- a path is too long for an index
    path       bytea not null,
    digest     bytea not null,
    size_bytes bigint not null,
    mtime_ns   bigint not null,
    since      bigint not null,       -- number of the push that first told of this content; 0: before all others
    landed     bigint not null,       -- number of the push that told of this file with this content
    reading    bigint not null,
    primary key (host, key),
    foreign key (host, digest) references shazim.contents on delete cascade
);
create index on shazim.files (host, digest);

-- Each push names the files that it changed. A follower asks for those after the push that it has, and knows that push by
-- its random mark: after the loss of the last transactions a number may come again, a mark does not.
create table shazim.entries (
    host text not null references shazim.hosts on delete cascade,
    n    bigint not null,
    key  bytea generated always as (sha256(path)) stored,
    path bytea not null,
    mark bytea not null,
    primary key (host, n, key)
);

create table shazim.followers (
    follower text not null references shazim.hosts on delete cascade,
    host     text not null references shazim.hosts on delete cascade,
    n        bigint not null,
    seen     timestamptz not null default now(),
    primary key (follower, host)
);

alter table shazim.hosts enable row level security;
alter table shazim.contents enable row level security;
alter table shazim.files enable row level security;
alter table shazim.entries enable row level security;
alter table shazim.followers enable row level security;

create policy seen_by_all on shazim.hosts for select using (true);
create policy joined_by_owner on shazim.hosts for insert with check (owner = current_user);
create policy changed_by_owner on shazim.hosts for update using (owner = current_user);
create policy seen_by_all on shazim.contents for select using (true);
create policy seen_by_all on shazim.files for select using (true);
create policy seen_by_all on shazim.entries for select using (true);
create policy seen_by_all on shazim.followers for select using (true);
create policy written_by_host on shazim.contents
    using (exists (select from shazim.hosts h where h.name = host and h.owner = current_user));
create policy written_by_host on shazim.files
    using (exists (select from shazim.hosts h where h.name = host and h.owner = current_user));
create policy written_by_host on shazim.entries
    using (exists (select from shazim.hosts h where h.name = host and h.owner = current_user));
create policy written_by_follower on shazim.followers
    using (exists (select from shazim.hosts h where h.name = follower and h.owner = current_user));

grant usage on schema shazim to public;
grant select on shazim.migrations to public;
grant select, update on shazim.clock to public;
grant select, insert, update on shazim.hosts to public;
grant select, insert, update, delete on shazim.contents, shazim.files, shazim.entries, shazim.followers to public;
