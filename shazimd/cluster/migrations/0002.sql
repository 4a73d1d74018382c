-- The entries of each host in a partition of its own: trimming one leaves no dead rows in the pages of the others, and
-- forgetting a host drops a table. No role but the owner may touch a partition itself, so row-level security holds.

alter table shazim.entries rename to entries_before;
alter index shazim.entries_pkey rename to entries_before_pkey;

create table shazim.entries (
    host text not null,                                             -- removed with its partition
    n    bigint not null,
    key  bytea generated always as (sha256(path)) stored,
    path bytea not null,
    mark bytea not null,
    primary key (host, n, key)
) partition by list (host);

alter table shazim.entries enable row level security;
create policy seen_by_all on shazim.entries for select using (true);
create policy written_by_host on shazim.entries
    using (exists (select from shazim.hosts h where h.name = host and h.owner = current_user));
grant select, insert, update, delete on shazim.entries to public;

-- A name may be too long for a table's.
create function shazim.partition_of(host text) returns text immutable return 'entries_' || md5(host);

-- Attaching lets others read and write; "create table ... partition of" would wait for all of them.
create function shazim.add_partition(host text) returns void language plpgsql set search_path = pg_catalog as $$
begin
    execute format('create table shazim.%I (like shazim.entries including all)', shazim.partition_of(host));
    execute format('comment on table shazim.%I is %L', shazim.partition_of(host), 'entries of the host ' || host);
    execute format('alter table shazim.entries attach partition shazim.%I for values in (%L)',
        shazim.partition_of(host), host);
end $$;
revoke execute on function shazim.add_partition from public;

create function shazim.host_added() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
    perform shazim.add_partition(new.name);
    return null;
end $$;

create function shazim.host_removed() returns trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
    execute format('drop table shazim.%I', shazim.partition_of(old.name));
    return null;
end $$;

select shazim.add_partition(name) from shazim.hosts;
insert into shazim.entries (host, n, path, mark) select host, n, path, mark from shazim.entries_before;
drop table shazim.entries_before;

create trigger added after insert on shazim.hosts for each row execute function shazim.host_added();
create trigger removed after delete on shazim.hosts for each row execute function shazim.host_removed();
