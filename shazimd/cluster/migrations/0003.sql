-- Pictures that end early or have broken parts. Those told of before count as whole until their host has made them anew.

alter table shazim.contents add column damaged boolean not null default false;
