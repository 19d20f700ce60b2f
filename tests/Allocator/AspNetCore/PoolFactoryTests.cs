using System;
using System.Buffers;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Xunit;

namespace LowLevel.Tests.Allocator.AspNetCore;

public sealed class PoolFactoryTests
{
    public static TheoryData<string, string, Action<LowLevelMemoryPoolOptions>> Mistakes => new()
    {
        { "SizeBytes is 4096", "4194304 (4 MiB) to 17592186044416 (16 TiB)", o => o.SizeBytes = 4096 },
        { "SizeBytes is -1", "null, or 4194304", o => o.SizeBytes = -1 },
        { "SizeBytes is 17592186044417", "17592186044416", o => o.SizeBytes = (1L << 44) + 1 },
        { "CapBytes is 0", "null, or 4194304", o => o.CapBytes = 0 },
        { "CapBytes is 268435457", "SizeBytes (268435456)", o => (o.SizeBytes, o.CapBytes) = (256 << 20, (256 << 20) + 1) },
        { "Delay is -00:00:01", "00:00:00 to 1.00:00:00", o => o.Delay = TimeSpan.FromSeconds(-1) },
        { "Delay is 1.00:00:01", "one day", o => o.Delay = TimeSpan.FromSeconds(86401) },
        { "HugePages is 7", "Advise, System, Never", o => o.HugePages = (HugePages)7 },
        { "BlockBytes is 2048", "4096 (4 KiB) to 1048576 (1 MiB)", o => o.BlockBytes = 2048 },
        { "BlockBytes is 5000", "a power of two", o => o.BlockBytes = 5000 },
        { "BlockBytes is 2097152", "1048576", o => o.BlockBytes = 2 << 20 },
        { "BlockBytes is -2147483648", "a power of two", o => o.BlockBytes = int.MinValue },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void An_option_out_of_its_range_stops_the_host_and_is_named_with_what_is_allowed(
        string what, string allowed, Action<LowLevelMemoryPoolOptions> configure)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddLowLevelMemoryPool(configure);
        OptionsValidationException error = Assert.Throws<OptionsValidationException>(builder.Build);
        string failure = Assert.Single(error.Failures);
        Assert.StartsWith("LowLevelMemoryPoolOptions." + what + "; allowed: ", failure, StringComparison.Ordinal);
        Assert.Contains(allowed, failure, StringComparison.Ordinal);

        var options = new LowLevelMemoryPoolOptions();
        configure(options);
        Assert.Contains(what, Assert.Throws<OptionsValidationException>(() => new ArenaMemoryPoolFactory(Options.Create(options))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_mistake_is_told_at_once()
    {
        var options = new LowLevelMemoryPoolOptions { SizeBytes = 1, CapBytes = 1, Delay = TimeSpan.MinValue, HugePages = (HugePages)(-1), BlockBytes = 3 };
        Assert.Equal(5, new LowLevelMemoryPoolOptionsValidator().Validate(null, options).Failures!.Count());
        Assert.True(new LowLevelMemoryPoolOptionsValidator().Validate(null, new LowLevelMemoryPoolOptions()).Succeeded);
    }

    [Fact]
    public void A_pool_registered_after_ours_stops_the_host_with_what_to_do()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddLowLevelMemoryPool();
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        InvalidOperationException error = Assert.Throws<InvalidOperationException>(builder.Build);
        Assert.Contains("call AddLowLevelMemoryPool after", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Registering_twice_adds_up_the_options_and_makes_one_factory()
    {
        ServiceCollection services = new();
        services.AddLogging();
        services.AddLowLevelMemoryPool(o => o.BlockBytes = 8192).AddLowLevelMemoryPool(o => o.SizeBytes = 64 << 20);
        using ServiceProvider provider = services.BuildServiceProvider();
        Assert.All(
            provider.GetServices<IMemoryPoolFactory<byte>>(), f => Assert.Same(provider.GetRequiredService<ArenaMemoryPoolFactory>(), f));
        ArenaMemoryPoolFactory factory = provider.GetRequiredService<ArenaMemoryPoolFactory>();
        Assert.Equal((nuint)(64 << 20), factory.Arena.SizeBytes);
        using MemoryPool<byte> pool = factory.Create();
        using IMemoryOwner<byte> owner = pool.Rent(1);
        Assert.Equal(8192, owner.Memory.Length);
    }

    [Fact]
    public void The_container_ends_the_arena_and_what_is_still_rented_stays_good_until_it_is_returned()
    {
        ServiceCollection services = new();
        services.AddLogging();
        services.AddLowLevelMemoryPool(o => o.SizeBytes = 64 << 20);
        ServiceProvider provider = services.BuildServiceProvider();
        ArenaMemoryPoolFactory factory = provider.GetRequiredService<ArenaMemoryPoolFactory>();
        MemoryPool<byte> pool = factory.Create();
        PageArena arena = factory.Arena;
        IMemoryOwner<byte> held = pool.Rent();
        provider.Dispose();

        Assert.True(arena.IsDisposed);
        Assert.Throws<ObjectDisposedException>(() => pool.Rent());
        Assert.Throws<ObjectDisposedException>(() => factory.Create());
        held.Memory.Span.Fill(7);
        Assert.False(arena.IsUnmapped);
        held.Dispose();
        Assert.True(arena.IsUnmapped);
        factory.Dispose();
    }

    [Fact]
    public void A_factory_that_nobody_asked_reserves_nothing()
    {
        var factory = new ArenaMemoryPoolFactory(Options.Create(new LowLevelMemoryPoolOptions()));
        factory.Dispose();
        Assert.Throws<ObjectDisposedException>(() => factory.Arena);
        Assert.Throws<ArgumentNullException>("services", () => LowLevelServiceCollectionExtensions.AddLowLevelMemoryPool(null!));
        Assert.Throws<ArgumentNullException>("options", () => new ArenaMemoryPoolFactory(null!));
    }

    [Theory]
    [InlineData(-1, 16384)]
    [InlineData(0, 16384)]
    [InlineData(4096, 16384)]
    [InlineData(16384, 16384)]
    [InlineData(16385, 32768)]
    public void A_buffer_is_at_least_a_block(int asked, int length)
    {
        using ArenaMemoryPoolFactory factory = Small();
        using MemoryPool<byte> pool = factory.Create();
        using IMemoryOwner<byte> owner = pool.Rent(asked);
        Assert.Equal(length, owner.Memory.Length);
        Assert.Equal(length, factory.Arena.GetStatistics().AllocatedBytes);
        Assert.Equal(-2, Assert.Throws<ArgumentOutOfRangeException>(() => pool.Rent(-2)).ActualValue);
        Assert.Equal(pool.MaxBufferSize + 1, Assert.Throws<ArgumentOutOfRangeException>(() => pool.Rent(pool.MaxBufferSize + 1)).ActualValue);
    }

    [Fact]
    public void After_a_refusal_the_arena_is_left_alone_for_a_while_and_then_asked_again()
    {
        using ArenaMemoryPoolFactory factory = Small(4 << 20);
        using var plain = new ArenaMemoryPool(factory.Arena);
        using var pool = new ServerMemoryPool(plain, 16384, NullLogger.Instance);
        List<IMemoryOwner<byte>> held = [];
        long before;
        do
        {
            before = factory.Arena.GetStatistics().AllocatedBytes;
            held.Add(pool.Rent());
        }
        while (factory.Arena.GetStatistics().AllocatedBytes > before);

        Assert.InRange(before, 3 << 20, 4 << 20);
        Assert.Equal(16384, held[^1].Memory.Length);
        held.ForEach(o => o.Dispose());
        for (int i = 0; i < ServerMemoryPool.Abstinence; i++)
        {
            using IMemoryOwner<byte> managed = pool.Rent();
            Assert.Equal(0, factory.Arena.GetStatistics().AllocatedBytes);
        }

        using IMemoryOwner<byte> ours = pool.Rent();
        Assert.Equal(16384, factory.Arena.GetStatistics().AllocatedBytes);
    }

    private static ArenaMemoryPoolFactory Small(long? cap = null) =>
        new(Options.Create(new LowLevelMemoryPoolOptions { SizeBytes = 64 << 20, CapBytes = cap }));
}
